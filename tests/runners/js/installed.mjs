// The package as a user has it, for the tests.
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const checkout = process.env.SMTP_FALLBACK_CHECKOUT ?? fileURLToPath(new URL('../../..', import.meta.url));
export const consumer = process.env.SMTP_FALLBACK_CONSUMER ?? join(checkout, 'target/js/consumer');
export const require = createRequire(join(consumer, 'program.cjs'));

/** A client of which nothing is known. */
export const client = { stage: 'end-of-data', client: '2001:db8::25', ehloName: 'mail.example.net', now: 1_700_000_000 };
export const envelope = { mailFrom: 'alice@example.net', recipients: ['bob@example.org'] };
export const message = { messageId: '<1@example.net>', date: 'Tue, 14 Nov 2023 22:13:20 +0000', fromDomain: 'example.net', size: 1000 };
export const failing = { spfMailFrom: { result: 'none', domain: 'example.net' }, dkim: [] };
export const passing = { ...failing, dkim: [{ result: 'pass', domain: 'example.net' }] };
