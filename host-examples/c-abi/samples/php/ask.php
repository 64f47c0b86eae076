<?php
// Asks the policy about two mails: php ask.php COMPONENT. Needs the extension ffi (ffi.enable, for others than the command line).
$ffi = FFI::cdef(<<<'C'
    typedef struct smtp_fallback smtp_fallback;
    int smtp_fallback_open(const char *settings, smtp_fallback **handle, char **answer);
    int smtp_fallback_decide(smtp_fallback *handle, const char *arguments, char **answer);
    void smtp_fallback_free(char *answer);
    void smtp_fallback_close(smtp_fallback *handle);
    C, 'libsmtp_fallback.so.0');

// The answer as PHP has it. Where there is none, mail passes: a filter would log this and accept.
function answer(FFI $ffi, callable $call): mixed
{
    $place = $ffi->new('char *');
    $code = $call(FFI::addr($place));
    $text = FFI::string($place);
    $ffi->smtp_fallback_free($place);
    if ($code !== 0) {
        throw new RuntimeException($text);
    }
    return json_decode($text, true, 512, JSON_THROW_ON_ERROR);
}

$settings = json_encode(['component' => $argv[1], 'policy' => new stdClass(), 'instances' => 1], JSON_THROW_ON_ERROR);
$policy = $ffi->new('smtp_fallback *');
$summary = answer($ffi, fn($place) => $ffi->smtp_fallback_open($settings, FFI::addr($policy), $place));
echo "mode: {$summary['mode']}\n";

foreach (['fail', 'pass'] as $spf) {
    $mail = json_encode([
        'connection' => [
            'stage' => 'end-of-data', 'client' => '2001:db8::25', 'listener' => 'mx', 'ehlo-name' => 'mail.example.org', 'tls' => 'none',
            'authenticated' => false, 'listener-offers' => false, 'keyword-shown' => false, 'acknowledged' => false,
            'reachable-over-ipv4' => true, 'ipv4-arrivals-visible' => false,
            'now' => time(), 'nonce' => random_int(0, 2 ** 32 - 1), 'records' => [],
        ],
        'envelope' => ['mail-from' => 'smith@example.org', 'recipients' => ['jones@example.net']],
        'message' => ['message-id' => '<1@example.org>', 'from-domain' => 'example.org', 'size' => 1000],
        'auth-results' => ['spf-mail-from' => ['result' => $spf, 'domain' => 'example.org'], 'dkim' => []],
    ], JSON_THROW_ON_ERROR);
    $decision = answer($ffi, fn($place) => $ffi->smtp_fallback_decide($policy, $mail, $place));
    echo "{$decision['reason']}\n";
    if (is_array($decision['verdict'])) {
        $reply = $decision['verdict']['refuse'];
        foreach ($reply['lines'] as $line) {
            echo "{$reply['code']} {$reply['enhanced-code']} $line\n";
        }
    } else {
        echo "250 2.0.0 OK\n";
    }
}
$ffi->smtp_fallback_close($policy);
