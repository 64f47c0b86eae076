// What users write. It has to compile, and where `@ts-expect-error` stands it must not.
import {
  ArgumentError,
  type AuthResults,
  type Connection,
  type Decision,
  Policy,
  PolicyError,
  type Reply,
  SmtpFallbackError,
  type StoredRecord,
  describe,
  inspect,
  parseAddress,
  parseAuthenticationResults,
  schema,
} from 'smtp-fallback-policy';

const policy: Policy = new Policy({ mode: 'observe' }, { secret: new Uint8Array(16) });
const connection: Connection = { stage: 'end-of-data', client: parseAddress('::1'), tls: { verified: ['a.example'] }, ehloName: null };
const least: Connection = { stage: 'greeting', client: '::1' };
const results: AuthResults = parseAuthenticationResults(['mx.example.org; spf=pass'], ['mx.example.org']);
const decision: Decision = policy.decide(connection, { mailFrom: '', recipients: [] }, { size: 1 }, results);
const stored: StoredRecord[] = decision.records.map(({ key, value }) => ({ key, value: [...value] }));
policy.keys({ ...connection, records: stored });
policy.decide(least);
policy.explain(connection, undefined, null);

function reply(): Reply | undefined {
  return typeof decision.verdict === 'object' ? decision.verdict.refuse : undefined;
}
export const code: number | undefined = reply()?.code;
export const observed: boolean = policy.summary?.mode === 'observe';
export const words: string = inspect(stored[0]!).kind + describe().keyword + JSON.stringify(schema());

try {
  policy.configure('{}');
} catch (error) {
  if (error instanceof PolicyError) {
    const first: string | undefined = error.errors[0]?.pointer;
    throw new Error(first);
  }
  if (error instanceof ArgumentError || error instanceof SmtpFallbackError) {
    throw error;
  }
}
{
  using scoped = new Policy();
  scoped.keys(connection);
}
policy.close();

// @ts-expect-error A stage in another spelling.
export const stage: Connection = { stage: 'endOfData', client: '::1' };
// @ts-expect-error A connection without its client.
export const client: Connection = { stage: 'data' };
// @ts-expect-error A name that is not one of the contract's.
export const name: Connection = { stage: 'data', client: '::1', ehlo_name: 'x' };
// @ts-expect-error The summary is there to read.
policy.summary = null;
// @ts-expect-error A refusal has a reply.
export const verdict: Decision['verdict'] = { refuse: true };
