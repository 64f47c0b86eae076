<?php
// What a decision costs from PHP: php bench.php SETTINGS bench CASES COUNT, as `cargo xtask bench faces` calls it. Texts in, texts out.
$ffi = FFI::cdef(<<<'C'
    typedef struct smtp_fallback smtp_fallback;
    int smtp_fallback_open(const char *settings, smtp_fallback **handle, char **answer);
    int smtp_fallback_keys(smtp_fallback *handle, const char *arguments, char **answer);
    int smtp_fallback_decide(smtp_fallback *handle, const char *arguments, char **answer);
    void smtp_fallback_free(char *answer);
    void smtp_fallback_close(smtp_fallback *handle);
    C, 'libsmtp_fallback.so.0');

function resident(): int
{
    return preg_match('/^VmRSS:\s+(\d+)/m', file_get_contents('/proc/self/status'), $found) ? (int) $found[1] : 0;
}

$place = $ffi->new('char *');
$answer = function (int $code) use ($ffi, $place): string {
    $text = FFI::string($place);
    $ffi->smtp_fallback_free($place);
    return $code === 0 ? $text : throw new RuntimeException($text);
};
$to = FFI::addr($place);

[, $settings, , $cases, $count] = $argv;
$cases = json_decode(file_get_contents($cases), false, 512, JSON_THROW_ON_ERROR);
$settings = json_decode(file_get_contents($settings), true, 512, JSON_THROW_ON_ERROR);
$settings += ['policy' => $cases->{'policy-json'}, 'secret' => $cases->secret];
$policy = $ffi->new('smtp_fallback *');
$answer($ffi->smtp_fallback_open(json_encode($settings, JSON_THROW_ON_ERROR), FFI::addr($policy), $to));
$warm = null;
foreach ($cases->cases as $case) {
    [$keys, $decide] = [json_encode($case->keys), json_encode($case->decide)];
    $pair = function () use ($ffi, $policy, $answer, $to, $keys, $decide): string {
        $answer($ffi->smtp_fallback_keys($policy, $keys, $to));
        return $answer($ffi->smtp_fallback_decide($policy, $decide, $to));
    };
    if (str_contains($pair(), '"verdict":{"refuse"') !== ($case->name === 'refusal')) {
        throw new RuntimeException("$case->name: another verdict");
    }
    for ($n = 0; $n < 1000; $n++) {
        $pair();
    }
    $warm ??= resident();
    $start = hrtime(true);
    for ($n = 0; $n < (int) $count; $n++) {
        $pair();
    }
    echo $case->name, ' ', intdiv(hrtime(true) - $start, max(1, (int) $count)), "\n";
}
echo "memory $warm ", resident(), "\n";
$ffi->smtp_fallback_close($policy);
