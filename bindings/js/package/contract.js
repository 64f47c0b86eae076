// Written from wit/policy.wit, version 0.1.0, by `cargo xtask npm`.
// `in` is a name as it stands in JSON, `otherwise` what stands for a value that a caller leaves out.

export const TYPES = {
  'key-kind': {
    enum: ['address', 'network', 'budget', 'exact', 'inferred'],
  },
  'key': {
    record: {
      kind: { in: 'kind', type: 'key-kind' },
      address: { in: 'address', type: 'address' },
      prefixLength: { in: 'prefix-length', type: 'u8' },
    },
  },
  'stored-record': {
    record: {
      key: { in: 'key', type: 'key' },
      value: { in: 'value', type: 'list<u8>' },
    },
  },
  'record-update': {
    record: {
      key: { in: 'key', type: 'key' },
      value: { in: 'value', type: 'list<u8>' },
      expiresIn: { in: 'expires-in', type: 'u32' },
      weight: { in: 'weight', type: 'u32' },
    },
  },
  'stage': {
    enum: ['greeting', 'ehlo', 'mail', 'rcpt', 'data', 'end-of-data'],
  },
  'listener': {
    enum: ['mx', 'submission', 'lmtp'],
  },
  'tls': {
    variant: { 'none': null, 'encrypted': null, 'verified': 'list<string>' },
  },
  'connection': {
    record: {
      stage: { in: 'stage', type: 'stage' },
      client: { in: 'client', type: 'address' },
      listener: { in: 'listener', type: 'listener', otherwise: 'mx' },
      ehloName: { in: 'ehlo-name', type: 'option<string>' },
      tls: { in: 'tls', type: 'tls', otherwise: 'none' },
      authenticated: { in: 'authenticated', type: 'bool', otherwise: false },
      listenerOffers: { in: 'listener-offers', type: 'bool', otherwise: false },
      keywordShown: { in: 'keyword-shown', type: 'bool', otherwise: false },
      acknowledged: { in: 'acknowledged', type: 'bool', otherwise: false },
      reachableOverIpv4: { in: 'reachable-over-ipv4', type: 'bool', otherwise: true },
      ipv4ArrivalsVisible: { in: 'ipv4-arrivals-visible', type: 'bool', otherwise: false },
      now: { in: 'now', type: 'u64', otherwise: 0 },
      nonce: { in: 'nonce', type: 'u32', otherwise: 0 },
      records: { in: 'records', type: 'list<stored-record>', otherwise: [] },
    },
  },
  'envelope': {
    record: {
      mailFrom: { in: 'mail-from', type: 'string' },
      recipients: { in: 'recipients', type: 'list<string>' },
    },
  },
  'message': {
    record: {
      messageId: { in: 'message-id', type: 'option<string>' },
      date: { in: 'date', type: 'option<string>' },
      fromDomain: { in: 'from-domain', type: 'option<string>' },
      size: { in: 'size', type: 'u32' },
    },
  },
  'auth-result': {
    enum: ['none', 'pass', 'fail', 'softfail', 'neutral', 'policy', 'temperror', 'permerror'],
  },
  'spf': {
    record: {
      result: { in: 'result', type: 'auth-result' },
      domain: { in: 'domain', type: 'string' },
    },
  },
  'dkim': {
    record: {
      result: { in: 'result', type: 'auth-result' },
      domain: { in: 'domain', type: 'string' },
      selector: { in: 'selector', type: 'string', otherwise: '' },
      testing: { in: 'testing', type: 'bool', otherwise: false },
    },
  },
  'dmarc': {
    record: {
      result: { in: 'result', type: 'auth-result' },
      domain: { in: 'domain', type: 'string' },
    },
  },
  'arc': {
    record: {
      result: { in: 'result', type: 'auth-result' },
      sealers: { in: 'sealers', type: 'list<string>' },
    },
  },
  'iprev': {
    record: {
      result: { in: 'result', type: 'auth-result' },
      name: { in: 'name', type: 'option<string>' },
    },
  },
  'auth-results': {
    record: {
      spfMailFrom: { in: 'spf-mail-from', type: 'option<spf>' },
      spfHelo: { in: 'spf-helo', type: 'option<spf>' },
      dkim: { in: 'dkim', type: 'option<list<dkim>>' },
      dmarc: { in: 'dmarc', type: 'option<dmarc>' },
      arc: { in: 'arc', type: 'option<arc>' },
      iprev: { in: 'iprev', type: 'option<iprev>' },
    },
  },
  'reply': {
    record: {
      code: { in: 'code', type: 'u16' },
      enhancedCode: { in: 'enhanced-code', type: 'string' },
      lines: { in: 'lines', type: 'list<string>' },
      close: { in: 'close', type: 'bool' },
    },
  },
  'verdict': {
    variant: { 'continue': null, 'accept': null, 'refuse': 'reply' },
  },
  'reason': {
    enum: ['undecided', 'ipv4', 'out-of-scope', 'not-reachable-over-ipv4', 'exempt-network', 'exempt-name', 'exempt-domain', 'exempt-recipient', 'let-in', 'authenticated', 'unauthenticated', 'distrusted', 'penalty', 'no-evidence', 'temporary-error', 'temporary-error-budget', 'never-falls-back', 'no-policy'],
  },
  'note': {
    variant: { 'probe': null, 'good-standing': null, 'capable': null, 'penalty-begins': null, 'penalty-renewed': null, 'penalty-ends': null, 'not-rolled-out': null, 'malformed-record': null, 'ipv4-arrivals-not-visible': null, 'never-falls-back': null, 'let-in-begins': null, 'let-in-used-up': null, 'verb-not-believed': null, 'other': 'string' },
  },
  'match-kind': {
    enum: ['exact', 'inferred'],
  },
  'link': {
    record: {
      matchKind: { in: 'match-kind', type: 'match-kind' },
      network: { in: 'network', type: 'key' },
      seconds: { in: 'seconds', type: 'u32' },
    },
  },
  'decision': {
    record: {
      verdict: { in: 'verdict', type: 'verdict' },
      reason: { in: 'reason', type: 'reason' },
      would: { in: 'would', type: 'option<verdict>' },
      authenticatedDomains: { in: 'authenticated-domains', type: 'list<string>' },
      linked: { in: 'linked', type: 'option<link>' },
      notes: { in: 'notes', type: 'list<note>' },
      records: { in: 'records', type: 'list<record-update>' },
    },
  },
  'mode': {
    enum: ['observe', 'enforce'],
  },
  'check': {
    enum: ['spf', 'dkim', 'dmarc', 'arc', 'fcrdns', 'tls'],
  },
  'policy-warning': {
    record: {
      pointer: { in: 'pointer', type: 'string' },
      message: { in: 'message', type: 'string' },
    },
  },
  'summary': {
    record: {
      mode: { in: 'mode', type: 'mode' },
      checks: { in: 'checks', type: 'list<check>' },
      warnings: { in: 'warnings', type: 'list<policy-warning>' },
    },
  },
  'policy-error': {
    record: {
      pointer: { in: 'pointer', type: 'string' },
      line: { in: 'line', type: 'u32' },
      column: { in: 'column', type: 'u32' },
      offset: { in: 'offset', type: 'u32' },
      found: { in: 'found', type: 'string' },
      expected: { in: 'expected', type: 'string' },
      advice: { in: 'advice', type: 'string' },
    },
  },
  'description': {
    record: {
      contract: { in: 'contract', type: 'string' },
      keyword: { in: 'keyword', type: 'string' },
      defaults: { in: 'defaults', type: 'json' },
    },
  },
};

export const FUNCTIONS = {
  configure: {
    in: 'configure',
    parameters: {
      policyJson: { in: 'policy-json', type: 'string' },
      secret: { in: 'secret', type: 'list<u8>' },
    },
    result: 'result<summary,list<policy-error>>',
  },
  schema: {
    in: 'schema',
    parameters: {},
    result: 'json',
  },
  describe: {
    in: 'describe',
    parameters: {},
    result: 'description',
  },
  keys: {
    in: 'keys',
    parameters: {
      connection: { in: 'connection', type: 'connection' },
      envelope: { in: 'envelope', type: 'option<envelope>' },
      message: { in: 'message', type: 'option<message>' },
    },
    result: 'list<key>',
  },
  decide: {
    in: 'decide',
    parameters: {
      connection: { in: 'connection', type: 'connection' },
      envelope: { in: 'envelope', type: 'option<envelope>' },
      message: { in: 'message', type: 'option<message>' },
      authResults: { in: 'auth-results', type: 'option<auth-results>' },
    },
    result: 'decision',
  },
  explain: {
    in: 'explain',
    parameters: {
      connection: { in: 'connection', type: 'connection' },
      envelope: { in: 'envelope', type: 'option<envelope>' },
      message: { in: 'message', type: 'option<message>' },
      authResults: { in: 'auth-results', type: 'option<auth-results>' },
    },
    result: 'string',
  },
  parseAddress: {
    in: 'parse-address',
    parameters: {
      text: { in: 'text', type: 'string' },
    },
    result: 'result<address,string>',
  },
  inspect: {
    in: 'inspect',
    parameters: {
      key: { in: 'key', type: 'key' },
      value: { in: 'value', type: 'list<u8>' },
    },
    result: 'json',
  },
  parseAuthenticationResults: {
    in: 'parse-authentication-results',
    parameters: {
      headers: { in: 'headers', type: 'list<string>' },
      trustedIds: { in: 'trusted-ids', type: 'list<string>' },
    },
    result: 'auth-results',
  },
};
