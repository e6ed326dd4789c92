import { z } from 'zod';
import { isLoopback } from './sinks.ts';

/** Bounds of `witnesses.yaml`. Counts, characters, seconds and days as the names say. */
export const witnessFileLimits = {
  witnessesMax: 16,
  wordCharactersMax: 512,
  everySecondsMin: 5,
  everySecondsMax: 3_600,
  retainDaysMax: 36_500,
} as const;

/** The kinds of witness, by the scheme of the URL; the `http` of each is for loopback alone. */
export const witnessSchemes = {
  file: 'file',
  s3: 's3',
  'tlog+https': 'tlog',
  'tlog+http': 'tlog',
  'post+https': 'post',
  'post+http': 'post',
} as const;
export type WitnessScheme = keyof typeof witnessSchemes;
export type WitnessKind = (typeof witnessSchemes)[WitnessScheme];

/** `tlog+https` of `tlog+https://witness.example`; null where there is no such witness. */
export function witnessSchemeOf(url: string): WitnessScheme | null {
  const scheme = url.slice(0, Math.max(0, url.indexOf('://')));
  return Object.hasOwn(witnessSchemes, scheme) ? (scheme as WitnessScheme) : null;
}

/** What is wrong with a witness's URL, or null. */
export function witnessUrlProblem(text: string): string | null {
  const scheme = witnessSchemeOf(text);
  if (scheme === null) return `begins with none of ${Object.keys(witnessSchemes).join('://, ')}://`;
  if (scheme === 's3')
    return /^s3:\/\/[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](\/[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}){0,8}\/?$/.test(text)
      ? null
      : 'is not a bucket and a prefix of letters, digits, -, _ and dots, such as s3://bucket/prefix';
  const flaw = urlFlaw(text);
  if (flaw !== null) return flaw;
  const { hostname, host, pathname } = new URL(text);
  if (scheme === 'file')
    return host === '' && /^\/.+\/$/.test(pathname)
      ? null
      : 'names no folder by its absolute path with a slash at its end, such as file:///mnt/witness/';
  return plainProblem(hostname, scheme.endsWith('+http'), scheme.replace(/http$/, 'https'));
}

function endpointProblem(text: string): string | null {
  if (!/^https?:\/\//.test(text)) return 'begins with neither https:// nor, on loopback, http://';
  const flaw = urlFlaw(text);
  if (flaw !== null) return flaw;
  const { hostname, pathname, protocol } = new URL(text);
  if (pathname !== '/') return 'has a path: put what comes before each object into the prefix of the url';
  return plainProblem(hostname, protocol === 'http:', 'https');
}

function urlFlaw(text: string): string | null {
  if (!URL.canParse(text)) return 'is not a URL';
  const { username, password } = new URL(text);
  if (username !== '' || password !== '') return 'holds a user or a password: name a secretFile instead';
  return /[?#]/.test(text) ? 'has a query or a fragment' : null;
}

/** Checkpoints are no secret, but whoever answers in a witness's place can say that it has them. */
function plainProblem(hostname: string, isPlain: boolean, encrypted: string): string | null {
  if (hostname === '') return 'names no host';
  return isPlain && !isLoopback(hostname)
    ? `is not encrypted, which is for loopback alone: use ${encrypted}://`
    : null;
}

const word = z
  .string()
  .min(1)
  .max(witnessFileLimits.wordCharactersMax)
  .regex(/^[\x21-\x7E]+$/, 'has white space or characters beyond ASCII');

const path = z.string().min(1).max(4096);

function checked(problemOf: (text: string) => string | null) {
  return z
    .string()
    .max(2048)
    .superRefine((text, context) => {
      const message = problemOf(text);
      if (message !== null) context.addIssue({ code: 'custom', message });
    });
}

const described = z.strictObject({
  name: z.string().regex(/^[a-z][a-z0-9-]{0,31}$/, 'is not a name: a letter, then letters, digits and -'),
  url: checked(witnessUrlProblem),
  /** Whether the server is not ready while this witness has had nothing for too long. */
  required: z.boolean().default(false),
  everySeconds: z
    .int()
    .min(witnessFileLimits.everySecondsMin)
    .max(witnessFileLimits.everySecondsMax)
    .default(60),
  /** A file of mode 0600: a bearer token, or the secret access key of `accessKeyId`. */
  secretFile: path.optional(),
  caFile: path.optional(),
  certFile: path.optional(),
  keyFile: path.optional(),
  /** The verifier key of a tlog witness, `NAME+ID+BASE64` of the type for cosignatures. */
  key: word.optional(),
  region: z
    .string()
    .regex(/^[a-z0-9-]{1,64}$/, 'is not a region, such as eu-central-1')
    .optional(),
  /** Amazon's of the region where absent. */
  endpoint: checked(endpointProblem).optional(),
  accessKeyId: z
    .string()
    .regex(/^[\w+=.@-]{1,128}$/, 'is not the id of an access key')
    .optional(),
  /** For so long nobody may remove or replace what is kept, the bucket's owner included. */
  retainDays: z.int().min(1).max(witnessFileLimits.retainDaysMax).optional(),
});

export type DescribedWitness = z.output<typeof described>;

/** The fields that are for some kinds alone: a field that changes nothing is refused. */
const fieldKinds = {
  secretFile: ['s3', 'post'],
  caFile: ['s3', 'tlog', 'post'],
  certFile: ['s3', 'tlog', 'post'],
  keyFile: ['s3', 'tlog', 'post'],
  key: ['tlog'],
  region: ['s3'],
  endpoint: ['s3'],
  accessKeyId: ['s3'],
  retainDays: ['s3'],
} as const satisfies Partial<Record<keyof DescribedWitness, readonly WitnessKind[]>>;

const neededFields = {
  file: [],
  s3: ['region', 'accessKeyId', 'secretFile'],
  tlog: ['key'],
  post: [],
} as const satisfies Record<WitnessKind, readonly (keyof DescribedWitness)[]>;

/** Fields of one witness that do not go with each other. */
function misfits(witness: DescribedWitness): { path: string; message: string }[] {
  const scheme = witnessSchemeOf(witness.url);
  if (scheme === null) return [];
  const kind = witnessSchemes[scheme];
  const found = Object.entries(fieldKinds)
    .filter(([field, kinds]) => field in witness && !(kinds as readonly string[]).includes(kind))
    .map(([field, kinds]) => ({ path: field, message: `is for ${kinds.join(', ')} and not for ${kind}` }));
  for (const field of neededFields[kind])
    if (witness[field] === undefined) found.push({ path: field, message: `is missing: ${kind} needs it` });
  const isPlain = scheme.endsWith('+http') || witness.endpoint?.startsWith('http:') === true;
  for (const field of ['caFile', 'certFile', 'keyFile'] as const)
    if (isPlain && field in witness) found.push({ path: field, message: 'is for TLS, which this is not' });
  if ((witness.certFile === undefined) !== (witness.keyFile === undefined))
    found.push({ path: 'certFile', message: 'and keyFile are used together: name both, or neither' });
  return found;
}

/** `witnesses.yaml`: where signed checkpoints are kept besides this machine. */
export const witnessesFile = z.strictObject({
  witnesses: z
    .array(
      described.superRefine((witness, context) => {
        for (const { path, message } of misfits(witness))
          context.addIssue({ code: 'custom', path: [path], message });
      }),
    )
    .max(witnessFileLimits.witnessesMax)
    .superRefine((witnesses, context) => {
      const names = witnesses.map(({ name }) => name);
      for (const [index, name] of names.entries())
        if (names.indexOf(name) < index)
          context.addIssue({
            code: 'custom',
            path: [index, 'name'],
            message: 'is the name of another witness',
          });
    }),
});

/** A witness with what its files hold; never logged and never answered. */
export type WitnessSettings = Omit<DescribedWitness, 'secretFile' | 'caFile' | 'certFile' | 'keyFile'> & {
  readonly secret: string | null;
  /** In PEM; none means those that Node ships. */
  readonly authorities: readonly string[];
  readonly identity: { readonly cert: string; readonly key: string } | null;
};

const witnessedStream = z.object({
  stream: z.string(),
  /** `conflict`: it holds another history of this stream than this server does. */
  state: z.enum(['kept', 'retrying', 'waiting', 'conflict']),
  /** Events of the newest checkpoint that it has from this process; 0 for none. */
  size: z.int(),
  lastKeptAt: z.string().nullable(),
  /** Since it last had the newest checkpoint; where this process has not reached it, since this process began to try. */
  ageSeconds: z.number(),
  lastError: z.object({ at: z.string(), reason: z.string() }).nullable(),
  /** The newest checkpoint with the cosignature of the witness, as a signed note; null but for tlog witnesses. */
  cosigned: z.string().nullable(),
});

export const witnessStatus = z.object({
  name: z.string(),
  url: z.string(),
  required: z.boolean(),
  streams: z.array(witnessedStream),
});

export const witnessStatuses = z.object({ items: z.array(witnessStatus) });

export type WitnessedStreamView = z.infer<typeof witnessedStream>;
export type WitnessStatusView = z.infer<typeof witnessStatus>;
export type WitnessStatusList = z.infer<typeof witnessStatuses>;
