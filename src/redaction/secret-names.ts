import { redactionLimits } from './limits.ts';

/** Words that say "what I name is secret", alone or at the end of a longer word (`PGPASSWORD`). */
const secretWords = [
  ...['password', 'passwords', 'passwd', 'passphrase', 'passcode', 'secret', 'secrets', 'token', 'tokens'],
  ...['cookie', 'cookies', 'credential', 'credentials'],
] as const;

/** Such words that end others by chance. */
const wholeWords: ReadonlySet<string> = new Set([
  'authorization',
  'otp',
  'totp',
  'pwd',
  'jwt',
  'bearer',
  'pin',
]);

/** Two words that say it together, or written as one. */
const secretPairs = [
  ...['api key', 'access key', 'account key', 'private key', 'secret key', 'signing key', 'encryption key'],
  ...[
    'master key',
    'shared key',
    'storage key',
    'auth key',
    'recovery code',
    'recovery codes',
    'backup code',
  ],
  ...['backup codes', 'user code', 'device code', 'verification code', 'code verifier', 'seed phrase'],
];
const knownPairs: ReadonlySet<string> = new Set(secretPairs);
const knownEnds: readonly string[] = [...secretWords, ...secretPairs.map((pair) => pair.replace(' ', ''))];

/** Last words of names that name a credential or say something of it, without holding it. */
const namingWords: ReadonlySet<string> = new Set([
  ...[
    'id',
    'ids',
    'name',
    'names',
    'kind',
    'kinds',
    'type',
    'types',
    'count',
    'label',
    'prefix',
    'hint',
    'ref',
  ],
  ...['at', 'ms', 'seconds', 'ttl', 'expiry', 'expires', 'lifetime', 'created', 'used', 'rotated', 'revoked'],
  ...[
    'url',
    'uri',
    'endpoint',
    'path',
    'file',
    'header',
    'field',
    'form',
    'format',
    'version',
    'size',
    'length',
  ],
  ...[
    'max',
    'min',
    'limit',
    'mode',
    'method',
    'methods',
    'basic',
    'policy',
    'rule',
    'status',
    'state',
    'action',
  ],
  ...[
    'enabled',
    'required',
    'allowed',
    'present',
    'provider',
    'owner',
    'scope',
    'scopes',
    'audience',
    'issuer',
  ],
  ...['alg', 'algorithm', 'missing', 'refused', 'invalid', 'expired', 'absent'],
]);

/** Whose values are secret as numbers too; numbers elsewhere are counts (`tokens: 3`). */
const numericSecret = /otp|pin$|pass|code/i;

/** The working folder of a shell, which is no password. */
const workingFolders: ReadonlySet<string> = new Set(['PWD', 'OLDPWD']);

const remembered = new Map<string, boolean>();

/**
 * Whether a name says that its value is secret: of a member, a variable, a parameter, a header or an option, in any
 * spelling (`clientSecret`, `X-Api-Key`, `DB_PASSWORD`). Names that only name a credential (`tokenId`, `secret_name`,
 * `token-expires-at`) are none. Long names are judged by their end.
 */
export function isSecretName(name: string): boolean {
  const known = remembered.get(name);
  if (known !== undefined) return known;
  const secret = judge(name.slice(-redactionLimits.nameCharactersMax));
  if (
    name.length <= redactionLimits.nameCharactersMax &&
    remembered.size < redactionLimits.namesRememberedMax
  )
    remembered.set(name, secret);
  return secret;
}

/** Whether a number under a secret name is one: a one-time code is, a count is not. */
export function isNumericSecretName(name: string): boolean {
  return isSecretName(name) && numericSecret.test(name.slice(-redactionLimits.nameCharactersMax));
}

function judge(name: string): boolean {
  if (workingFolders.has(name)) return false;
  const words = wordsOf(name);
  if (words.length === 0 || namingWords.has(words.at(-1)!)) return false;
  return words.some(
    (word, index) =>
      wholeWords.has(word) ||
      knownEnds.some((secret) => word.endsWith(secret)) ||
      knownPairs.has(`${words[index - 1] ?? ''} ${word}`),
  );
}

function wordsOf(name: string): string[] {
  return name
    .replace(/([a-z0-9])([A-Z])/g, '$1 $2')
    .replace(/([A-Z])([A-Z][a-z])/g, '$1 $2')
    .toLowerCase()
    .split(/[^a-z0-9]+/)
    .map((word) => word.replace(/[0-9]{1,4}$/, ''))
    .filter((word) => word !== '');
}
