#!/usr/bin/perl
# What a decision costs from Perl: perl bench.pl SETTINGS bench CASES COUNT, as `cargo xtask bench faces` calls it. Texts in, texts out.
use strict;
use warnings;
use FFI::Platypus 2.00;
use JSON::PP ();
use Time::HiRes 'time';

my ($settings_file, undef, $cases_file, $count) = @ARGV;
my $ffi = FFI::Platypus->new(api => 2, lib => 'libsmtp_fallback.so.0');
$ffi->attach("smtp_fallback_$_->[0]" => $_->[1] => 'int')
    for ['open', ['string', 'opaque*', 'opaque*']], ['keys', ['opaque', 'string', 'opaque*']], ['decide', ['opaque', 'string', 'opaque*']];
$ffi->attach("smtp_fallback_$_" => ['opaque'] => 'void') for 'free', 'close';
my $json = JSON::PP->new->utf8->canonical;

sub content { open my $file, '<', $_[0] or die "$_[0]: $!\n"; local $/; return scalar <$file> }
sub resident { return content('/proc/self/status') =~ /^VmRSS:\s+(\d+)/m ? $1 : 0 }

my $pointer;

sub answer {
    my ($code) = @_;
    my $text = $ffi->cast('opaque' => 'string', $pointer);
    smtp_fallback_free($pointer);
    die "$text\n" if $code;
    return $text;
}

my $cases = $json->decode(content($cases_file));
my $settings = $json->decode(content($settings_file));
@$settings{'policy', 'secret'} = @$cases{'policy-json', 'secret'};
my $policy;
answer(smtp_fallback_open($json->encode($settings), \$policy, \$pointer));
my $warm;
for my $case (@{$cases->{cases}}) {
    my ($keys, $decide) = map { $json->encode($case->{$_}) } 'keys', 'decide';
    my $pair = sub {
        answer(smtp_fallback_keys($policy, $keys, \$pointer));
        return answer(smtp_fallback_decide($policy, $decide, \$pointer));
    };
    die "$case->{name}: another verdict\n" if ($pair->() =~ /"verdict":\{"refuse"/) != ($case->{name} eq 'refusal');
    $pair->() for 1 .. 1000;
    $warm //= resident();
    my $start = time;
    $pair->() for 1 .. $count;
    printf "%s %d\n", $case->{name}, (time() - $start) * 1e9 / $count;
}
printf "memory %d %d\n", $warm, resident();
smtp_fallback_close($policy);
