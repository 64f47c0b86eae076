#!/usr/bin/perl
# Asks the policy about two mails: perl ask.pl COMPONENT. Debian: libffi-platypus-perl.
use strict;
use warnings;
use FFI::Platypus 2.00;
use JSON::PP qw(encode_json decode_json);

my $ffi = FFI::Platypus->new(api => 2, lib => 'libsmtp_fallback.so.0');
my %functions = (
    open => ['string', 'opaque*', 'opaque*'],
    decide => ['opaque', 'string', 'opaque*'],
);
$ffi->attach("smtp_fallback_$_" => $functions{$_} => 'int') for keys %functions;
$ffi->attach("smtp_fallback_$_" => ['opaque'] => 'void') for 'free', 'close';

# The answer as Perl has it. Where there is none, mail passes: a filter would log this and accept.
sub answer {
    my ($code, $pointer) = @_;
    my $text = $ffi->cast('opaque' => 'string', $pointer);
    smtp_fallback_free($pointer);
    die "$text\n" if $code;
    return JSON::PP->new->utf8->allow_nonref->decode($text);
}

my $settings = encode_json({component => shift, policy => {}, instances => 1});
my ($policy, $pointer);
my $summary = answer(smtp_fallback_open($settings, \$policy, \$pointer), $pointer);
print "mode: $summary->{mode}\n";

for my $spf ('fail', 'pass') {
    my $mail = encode_json({
        connection => {
            stage => 'end-of-data', client => '2001:db8::25', listener => 'mx', 'ehlo-name' => 'mail.example.org', tls => 'none',
            authenticated => JSON::PP::false, 'listener-offers' => JSON::PP::false, 'keyword-shown' => JSON::PP::false,
            acknowledged => JSON::PP::false, 'reachable-over-ipv4' => JSON::PP::true, 'ipv4-arrivals-visible' => JSON::PP::false,
            now => time, nonce => int rand 2**32, records => [],
        },
        envelope => {'mail-from' => 'smith@example.org', recipients => ['jones@example.net']},
        message => {'message-id' => '<1@example.org>', 'from-domain' => 'example.org', size => 1000},
        'auth-results' => {'spf-mail-from' => {result => $spf, domain => 'example.org'}, dkim => []},
    });
    my $decision = answer(smtp_fallback_decide($policy, $mail, \$pointer), $pointer);
    my $verdict = $decision->{verdict};
    print "$decision->{reason}\n";
    if (ref $verdict) {
        my $reply = $verdict->{refuse};
        print "$reply->{code} $reply->{'enhanced-code'} $_\n" for @{$reply->{lines}};
    } else {
        print "250 2.0.0 OK\n";
    }
}
smtp_fallback_close($policy);
