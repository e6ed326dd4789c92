import { z } from 'zod';

/** Bounds of `sinks.yaml` and of what is answered about sinks. Counts and characters as the names say. */
export const sinkFileLimits = {
  sinksMax: 16,
  labelsMax: 8,
  filterWordsMax: 64,
  wordCharactersMax: 128,
  /** Below this the file of a sink would be renamed all the time. */
  rotateMebibytesMin: 1,
  rotateMebibytesMax: 100_000,
  keptFilesMax: 10_000,
} as const;

/** The ways out, by the scheme of a sink's URL; the `http` and `tcp` of each is for loopback alone. */
export const sinkSchemes = {
  'loki+https': 'loki',
  'loki+http': 'loki',
  'otlp+https': 'otlp',
  'otlp+http': 'otlp',
  'webhook+https': 'webhook',
  'webhook+http': 'webhook',
  'syslog+tls': 'syslog',
  'syslog+tcp': 'syslog',
  file: 'file',
} as const;
export type SinkScheme = keyof typeof sinkSchemes;
export type SinkKind = (typeof sinkSchemes)[SinkScheme];

/** `loki+https` of `loki+https://loki.example:3100`; null where there is no such sink. */
export function sinkSchemeOf(url: string): SinkScheme | null {
  const scheme = url.slice(0, Math.max(0, url.indexOf('://')));
  return Object.hasOwn(sinkSchemes, scheme) ? (scheme as SinkScheme) : null;
}

/** Whether a host is this machine by its name alone, without a look-up. */
export function isLoopback(hostname: string): boolean {
  return hostname === 'localhost' || hostname === '[::1]' || /^127(\.\d{1,3}){3}$/.test(hostname);
}

/** What is wrong with a sink's URL, or null. What is sent names people and addresses: it crosses no network in the clear. */
export function sinkUrlProblem(text: string): string | null {
  const scheme = sinkSchemeOf(text);
  if (scheme === null) return `begins with none of ${Object.keys(sinkSchemes).join('://, ')}://`;
  if (!URL.canParse(text)) return 'is not a URL';
  const { hostname, host, port, pathname, search, hash, username, password } = new URL(text);
  if (username !== '' || password !== '') return 'holds a user or a password: name a secretFile instead';
  if (search !== '' || hash !== '' || /[?#]/.test(text)) return 'has a query or a fragment';
  if (scheme === 'file')
    return host === '' && /^\/./.test(pathname) && !pathname.endsWith('/')
      ? null
      : 'names no file by its absolute path, such as file:///var/log/sealwright/audit.jsonl';
  if (hostname === '') return 'names no host';
  if (scheme.startsWith('syslog') && (port === '' || !/^\/?$/.test(pathname)))
    return 'is not a host and a port, such as syslog+tls://log.example:6514';
  if (/http$|tcp$/.test(scheme) && !isLoopback(hostname))
    return `is not encrypted, which is for loopback alone: use ${scheme.replace(/http$/, 'https').replace(/tcp$/, 'tls')}://`;
  return null;
}

const word = z
  .string()
  .min(1)
  .max(sinkFileLimits.wordCharactersMax)
  .regex(/^[\x21-\x7E]+$/, 'has white space or characters beyond ASCII');

const path = z.string().min(1).max(4096);

const labels = z
  .record(z.string().regex(/^[a-zA-Z_][a-zA-Z0-9_]{0,62}$/, 'is not the name of a label'), word)
  .refine((record) => Object.keys(record).length <= sinkFileLimits.labelsMax, {
    message: `has more than ${sinkFileLimits.labelsMax} labels`,
  });

const filter = z.strictObject({
  /** How the action begins: `egress.`, `run.create`. Any where absent. */
  actions: z
    .array(z.string().regex(/^[a-z][a-z.-]{0,63}$/, 'is not how an action begins'))
    .min(1)
    .max(sinkFileLimits.filterWordsMax)
    .optional(),
  outcomes: z
    .array(z.enum(['allowed', 'denied', 'succeeded', 'failed']))
    .min(1)
    .optional(),
});

export const sinkName = z
  .string()
  .regex(/^[a-z][a-z0-9-]{0,31}$/, 'is not a name: a letter, then letters, digits and -');

const described = z.strictObject({
  name: sinkName,
  url: z
    .string()
    .max(2048)
    .superRefine((text, context) => {
      const message = sinkUrlProblem(text);
      if (message !== null) context.addIssue({ code: 'custom', message });
    }),
  format: z.enum(['event', 'ocsf']).default('event'),
  filter: filter.optional(),
  /** A file of mode 0600: a token, a password where `user` is said, or the key of a webhook's signature. */
  secretFile: path.optional(),
  /** With `secretFile` as its password (RFC 7617). */
  user: word.regex(/^[^:]+$/, 'has a colon').optional(),
  /** A file with the authorities in PEM that alone may vouch for the receiver; those that Node ships where absent. */
  caFile: path.optional(),
  /** What we show to a receiver that asks for a certificate. */
  certFile: path.optional(),
  keyFile: path.optional(),
  labels: labels.optional(),
  tenant: word.optional(),
  facility: z.int().min(0).max(23).optional(),
  rotateMebibytes: z
    .int()
    .min(sinkFileLimits.rotateMebibytesMin)
    .max(sinkFileLimits.rotateMebibytesMax)
    .optional(),
  keptFiles: z.int().min(1).max(sinkFileLimits.keptFilesMax).optional(),
});

export type DescribedSink = z.output<typeof described>;

/** The fields that are for some kinds alone: a field that changes nothing is refused. */
const fieldKinds = {
  secretFile: ['loki', 'otlp', 'webhook'],
  user: ['loki', 'otlp'],
  caFile: ['loki', 'otlp', 'webhook', 'syslog'],
  certFile: ['loki', 'otlp', 'webhook', 'syslog'],
  keyFile: ['loki', 'otlp', 'webhook', 'syslog'],
  labels: ['loki', 'otlp'],
  tenant: ['loki'],
  facility: ['syslog'],
  rotateMebibytes: ['file'],
  keptFiles: ['file'],
} as const satisfies Partial<Record<keyof DescribedSink, readonly SinkKind[]>>;

/** Fields of one sink that do not go with each other. */
function misfits(sink: DescribedSink): { path: string; message: string }[] {
  const scheme = sinkSchemeOf(sink.url);
  if (scheme === null) return [];
  const kind = sinkSchemes[scheme];
  const isPlain = /http$|tcp$/.test(scheme);
  const found = Object.entries(fieldKinds)
    .filter(([field, kinds]) => field in sink && !(kinds as readonly string[]).includes(kind))
    .map(([field, kinds]) => ({ path: field, message: `is for ${kinds.join(', ')} and not for ${kind}` }));
  for (const field of ['caFile', 'certFile', 'keyFile'] as const)
    if (isPlain && field in sink) found.push({ path: field, message: `is for TLS, which ${scheme} is not` });
  if ((sink.certFile === undefined) !== (sink.keyFile === undefined))
    found.push({ path: 'certFile', message: 'and keyFile are used together: name both, or neither' });
  if (sink.user !== undefined && sink.secretFile === undefined)
    found.push({ path: 'user', message: 'needs a secretFile that holds the password' });
  if (kind === 'webhook' && sink.secretFile === undefined)
    found.push({ path: 'secretFile', message: 'is missing: a webhook is signed with the key that it holds' });
  return found;
}

/** `sinks.yaml`: where the record goes besides this machine. */
export const sinksFile = z.strictObject({
  sinks: z
    .array(
      described.superRefine((sink, context) => {
        for (const { path, message } of misfits(sink))
          context.addIssue({ code: 'custom', path: [path], message });
      }),
    )
    .max(sinkFileLimits.sinksMax)
    .superRefine((sinks, context) => {
      const seen = new Set<string>();
      for (const [index, { name }] of sinks.entries()) {
        if (seen.has(name))
          context.addIssue({
            code: 'custom',
            path: [index, 'name'],
            message: 'is the name of another sink',
          });
        seen.add(name);
      }
    }),
});

/** A sink with what its files hold; never logged and never answered. */
export type SinkSettings = Omit<DescribedSink, 'secretFile' | 'caFile' | 'certFile' | 'keyFile'> & {
  readonly secret: string | null;
  /** In PEM; none means those that Node ships. */
  readonly authorities: readonly string[];
  readonly identity: { readonly cert: string; readonly key: string } | null;
};

const streamStatus = z.object({
  stream: z.string(),
  /** The last event that the receiver has taken, or that was passed over; 0 for none. */
  sentSeq: z.int(),
  lagEvents: z.int(),
  /** How old the first event is that has not been taken; 0 where none waits. */
  lagSeconds: z.number(),
});

export const sinkStatus = z.object({
  name: z.string(),
  url: z.string(),
  format: z.enum(['event', 'ocsf']),
  /** `retrying` waits after a failure, `stalled` until somebody makes room among the dead letters. */
  state: z.enum(['running', 'retrying', 'stalled']),
  lastError: z.object({ at: z.string(), reason: z.string() }).nullable(),
  /** Since control started. */
  sentEvents: z.int(),
  failedSends: z.int(),
  /** Events that the receiver refused for good and that wait to be sent again by hand. */
  deadLetters: z.int(),
  streams: z.array(streamStatus),
});

export const sinkStatuses = z.object({ items: z.array(sinkStatus) });

export const redelivered = z.object({
  delivered: z.int(),
  /** Those that were refused again, and those that were not tried. */
  remaining: z.int(),
  /** Why it ended before all were tried. */
  stoppedBy: z.string().nullable(),
});

export type SinkStatusView = z.infer<typeof sinkStatus>;
export type SinkStatusList = z.infer<typeof sinkStatuses>;
export type RedeliveredView = z.infer<typeof redelivered>;
