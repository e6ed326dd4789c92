import { z } from 'zod';

/** Bounds of `providers.yaml`. Counts and characters as the names say. */
export const providerFileLimits = {
  providersMax: 32,
  roleRulesMax: 256,
  teamsMax: 256,
  listMax: 32,
  wordCharactersMax: 255,
} as const;

const { listMax, roleRulesMax, teamsMax, wordCharactersMax } = providerFileLimits;

const word = z
  .string()
  .min(1)
  .max(wordCharactersMax)
  .refine((text) => !/[\p{Cc}\u2028\u2029]/u.test(text) && text.trim() === text, {
    message: 'has control characters or outer white space',
  });

/** A parameter value that stands in a list which spaces separate (RFC 6749 §3.3). */
const token = word.refine((text) => /^[\x21\x23-\x5B\x5D-\x7E]+$/.test(text), {
  message: 'has characters that do not belong there, such as a space',
});

const yesNo = z
  .union([z.boolean(), z.enum(['yes', 'no'])], { error: 'is neither yes nor no' })
  .transform((value) => value === true || value === 'yes');

const roleName = z.string().regex(/^[a-z][a-z0-9-]{0,62}$/, 'is not the name of a role');

/** Whether a team can be called so. */
export function isTeamName(text: string): boolean {
  return /^[a-z0-9][a-z0-9-]{0,62}$/.test(text);
}

const teamName = z.string().refine(isTeamName, { message: 'is not the name of a team' });

/** Plain http is for loopback alone: whoever can read or change the way there can sign in as anybody. */
export function isProviderUrl(text: string): boolean {
  if (!URL.canParse(text)) return false;
  const { protocol, hostname, search, hash, username, password } = new URL(text);
  const isLoopback = hostname === 'localhost' || hostname === '[::1]' || /^127\./.test(hostname);
  const bare = search === '' && hash === '' && username === '' && password === '' && !/[?#]/.test(text);
  return bare && (protocol === 'https:' || (protocol === 'http:' && isLoopback));
}

const url = z.string().max(2048).refine(isProviderUrl, {
  message: 'is no https URL without query and user (http is for loopback alone)',
});

const roleRule = z.strictObject({ claim: word, value: word, role: roleName });

const teamRule = z
  .strictObject({
    claim: word,
    /** Stands before the value; the teams that begin with it are those that the provider decides about. */
    prefix: z
      .string()
      .regex(/^[a-z0-9][a-z0-9-]{0,31}$/, 'is not how the name of a team can begin')
      .optional(),
    map: z
      .record(word, teamName)
      .refine((map) => Object.keys(map).length <= teamsMax, { message: `has more than ${teamsMax} teams` })
      .optional(),
  })
  .refine(({ prefix, map }) => prefix === undefined || map === undefined, {
    message: 'has both prefix and map',
  });

const mapping = z.strictObject({
  userName: word.optional(),
  roles: z.array(roleRule).max(roleRulesMax).default([]),
  defaultRole: roleName.optional(),
  teams: teamRule.optional(),
});

const shared = {
  id: z.string().regex(/^[a-z][a-z0-9-]{0,31}$/, 'is not an id: a letter, then letters, digits and -'),
  /** What the button says; the id where absent. */
  label: word.max(63).optional(),
  clientId: word,
  clientSecret: z
    .string()
    .min(1)
    .max(4096)
    .regex(/^[\x21-\x7E]+$/, 'has white space or characters beyond ASCII')
    .optional(),
  /** A file of mode 0600; its last line break is not part of the secret. */
  clientSecretFile: z.string().min(1).max(4096).optional(),
  /** A file with authorities in PEM that are believed besides those of the system. */
  caFile: z.string().min(1).max(4096).optional(),
  mapping,
  /** `provider`: only `auth_time` says when a person signed in there; `round`: coming back from there does. */
  authTime: z.enum(['provider', 'round']).default('provider'),
  syncOnSignIn: yesNo.default(true),
  allowSignUp: yesNo,
};

/** Signatures that only the provider can make: never `none`, never HMAC (RFC 8725 §3.1, §3.2). */
export const idTokenAlgorithms = [
  'RS256',
  'RS384',
  'RS512',
  'PS256',
  'PS384',
  'PS512',
  'ES256',
  'ES384',
  'ES512',
  'EdDSA',
  'Ed25519',
] as const;

const oidc = z.strictObject({
  ...shared,
  kind: z.literal('oidc'),
  /** Exactly as the provider calls itself. */
  issuer: url,
  scopes: z
    .array(token)
    .min(1)
    .max(listMax)
    .refine((scopes) => scopes.includes('openid'), { message: 'has no openid' })
    .default(['openid', 'profile', 'email']),
  algorithms: z.array(z.enum(idTokenAlgorithms)).min(1).default(['RS256', 'PS256', 'ES256', 'EdDSA']),
  clientAuth: z.enum(['basic', 'post']).optional(),
  /** Whether claims are also read from the userinfo endpoint. */
  userinfo: yesNo.default(false),
  /** Whether logout tokens without the type `logout+jwt` are taken. */
  untypedLogoutTokens: yesNo.default(false),
  mfa: z
    .strictObject({
      acr: z.array(token).max(listMax).default([]),
      amr: z.array(token).max(listMax).default([]),
      request: z.enum(['acr_values', 'claims', 'none']).default('acr_values'),
    })
    .default({ acr: [], amr: [], request: 'acr_values' }),
});

const github = z.strictObject({
  ...shared,
  kind: z.literal('github'),
  /** Of a GitHub Enterprise server. */
  baseUrl: url.default('https://github.com'),
  /** Where absent, what belongs to baseUrl. */
  apiUrl: url.optional(),
  scopes: z.array(token).min(1).max(listMax).default(['read:user', 'user:email', 'read:org']),
  mfa: z.strictObject({ twoFactor: yesNo }).default({ twoFactor: false }),
});

const provider = z
  .discriminatedUnion('kind', [oidc, github])
  .refine(({ clientSecret, clientSecretFile }) => !clientSecret || !clientSecretFile, {
    message: 'has both clientSecret and clientSecretFile',
  })
  .refine(({ mapping: { roles, defaultRole } }) => roles.length > 0 || defaultRole !== undefined, {
    message: 'has neither roles nor defaultRole, so nobody could sign in',
    path: ['mapping'],
  });

/** `providers.yaml`: where people may sign in besides here, in the order in which they are offered. */
export const providersFile = z.strictObject({
  providers: z
    .array(provider)
    .max(providerFileLimits.providersMax)
    .superRefine((providers, context) => {
      const seen = new Set<string>();
      for (const [index, { id }] of providers.entries()) {
        if (seen.has(id))
          context.addIssue({ code: 'custom', path: [index, 'id'], message: 'is the id of another provider' });
        seen.add(id);
      }
    }),
});

type Described = z.output<typeof provider>;
/** What files hold is in memory by now: `clientSecret` is null for a public client. */
type Loaded<T> = Omit<T, 'clientSecret' | 'clientSecretFile' | 'caFile'> & {
  readonly clientSecret: string | null;
  readonly authorities: readonly string[];
};
export type OidcSettings = Loaded<Extract<Described, { kind: 'oidc' }>>;
export type GithubSettings = Loaded<Extract<Described, { kind: 'github' }>>;
export type ProviderSettings = OidcSettings | GithubSettings;
export type DescribedProvider = Described;
export type ClaimMapping = z.output<typeof mapping>;
