import { z } from 'zod';
import { reaches } from '../model/actor.ts';
import { egressDenials, egressModes, egressProtocols } from '../model/egress.ts';
import { unknownFacts } from '../model/egress-simulate.ts';
import { type Id, type IdKind, parseId } from '../model/ids.ts';
import { type LimitMeans, runLimitBounds } from '../model/limits.ts';
import { failureCauses, runPhases } from '../model/run.ts';
import { scopes } from '../model/scopes.ts';
import { sessionPhases } from '../model/session.ts';
import { terminalSizeSchema } from './attach-frames.ts';
import { attachChoice, attachSettings } from './attach-settings.ts';
import { apiLimits } from './limits.ts';
import { policyDocument } from './policy.ts';
import { gitRef, repositoryUrl, sshHostKeys } from './repository.ts';

/**
 * The shapes of every request and answer. The server validates with them, the OpenAPI document is generated
 * from them and the client takes its types from them. Objects are strict: an unknown field is refused.
 */

/** The id of one kind of thing, parsed. */
export function id<K extends IdKind>(kind: K, example: string) {
  return z
    .string()
    .refine((text): text is Id<K> => parseId(kind, text) !== null, { message: `is not the id of a ${kind}` })
    .meta({ description: `The id of a ${kind}`, example });
}

export const sessionId = id('session', 'ses_01kamcq5r8v0x4m2e7hj9n3tzb');
export const runId = id('run', 'run_01kamcq5r8v0x4m2e7hj9n3tzb');
export const uploadId = id('upload', 'upl_01kamcq5r8v0x4m2e7hj9n3tzb');
export const tokenId = id('token', 'tok_01kamcq5r8v0x4m2e7hj9n3tzb');

export const time = z.iso.datetime().meta({ description: 'RFC 3339, UTC, milliseconds' });

/** Free text for people; never an id. Control characters are refused because names are shown on terminals. */
export const name = z
  .string()
  .min(1)
  .refine((text) => [...text].length <= apiLimits.nameCharactersMax, {
    message: `is longer than ${apiLimits.nameCharactersMax} characters`,
  })
  .refine((text) => !/[\p{Cc}\p{Cs}\u2028\u2029]/u.test(text) && text.trim() === text, {
    message: 'has control characters or outer white space',
  })
  .refine((text) => text.isWellFormed(), { message: 'is not well-formed Unicode' });

/** Whether there is one, and who is in it, is for control to say. */
export const teamName = z
  .string()
  .regex(/^[a-z0-9][a-z0-9._@-]{0,62}$/, 'is not the name of a team')
  .meta({ description: 'The name of a team', example: 'platform' });

/** Why somebody does something, for whoever reads the record. */
export const reason = z
  .string()
  .min(1)
  .max(apiLimits.reasonCharactersMax)
  .refine((text) => text.isWellFormed() && !/[\p{Cc}\u2028\u2029]/u.test(text) && text.trim() === text, {
    message: 'has control characters or outer white space',
  });

export const egressFull = 'full';

/** Whether there is one is for control to say. */
const egressName = z.string().regex(/^[a-z][a-z0-9-]{0,62}$/, 'is not the name of a preset or policy');

export const egressNames = z
  .array(egressName)
  .max(apiLimits.egressNamesMax)
  .refine((names) => new Set(names).size === names.length, { message: 'names one twice' })
  .refine((names) => names.length < 2 || !names.includes(egressFull), { message: 'has more beside full' })
  .meta({
    description:
      'Presets and policies whose rules, in this order, say what it may reach; where absent those of its session. ' +
      '`full` alone is every public address, and needs control:write and egressReason',
    example: ['npm', 'web'],
  });

const egressView = z.object({ names: z.array(z.string()), mode: z.enum(egressModes) });

const noNul = (text: string) => !text.includes('\0') && text.isWellFormed();
const bytesAtMost = (max: number) => (text: string) => Buffer.byteLength(text) <= max;

const argument = z
  .string()
  .refine(noNul, { message: 'holds a NUL character or is not well-formed Unicode' })
  .refine(bytesAtMost(apiLimits.argumentBytesMax), {
    message: `is longer than ${apiLimits.argumentBytesMax} bytes`,
  });

export const command = z
  .array(argument)
  .min(1, 'is empty: name a program to run')
  .max(apiLimits.argumentsMax)
  .refine((words) => words[0] !== '', { message: 'names no program: its first word is empty' });

export const environment = z
  .record(z.string().regex(/^[A-Za-z_][A-Za-z0-9_]{0,254}$/), argument, {
    error: ({ code }) =>
      code === 'invalid_key' ? 'is not a name an environment variable can have' : undefined,
  })
  .refine((entries) => Object.keys(entries).length <= apiLimits.environmentMax, {
    message: `has more than ${apiLimits.environmentMax} variables`,
  });

/** A folder in the sandbox: absolute, or relative to the workspace. */
export const cwd = z
  .string()
  .min(1)
  .max(apiLimits.cwdCharactersMax)
  .refine(noNul, { message: 'holds a NUL character' });

const bound = (key: keyof typeof runLimitBounds, whole = true) => {
  const { min, max } = runLimitBounds[key];
  const number = whole ? z.int() : z.number();
  return number.min(min).max(max);
};

export const timeoutSeconds = bound('timeoutSeconds');

export const limits = z
  .strictObject({
    cpus: bound('cpus', false).optional(),
    memoryBytes: bound('memoryBytes').optional(),
    pids: bound('pids').optional(),
    diskBytes: bound('diskBytes').optional(),
    outputBytes: bound('outputBytes').optional(),
  })
  .meta({ description: 'What the run may use; absent members take the defaults of the server.' });

export const repoUpload = z.strictObject({
  upload: uploadId,
  /** The commits whose parents the bundle does not hold, from a shallow clone. */
  shallow: z
    .array(z.string().regex(/^([0-9a-f]{40}|[0-9a-f]{64})$/))
    .max(10_000)
    .optional(),
});

export const repoRemote = z
  .strictObject({ url: repositoryUrl, ref: gitRef.optional(), hostKeys: sshHostKeys.optional() })
  .superRefine(({ url, hostKeys = [] }, context) => {
    const isSsh = /^ssh:/i.test(url);
    if (isSsh === hostKeys.length > 0) return;
    const message = isSsh
      ? "are due: what is not known to be the host's is not cloned"
      : 'are for ssh:// alone';
    context.addIssue({ code: 'custom', path: ['hostKeys'], message });
  });

const sessionRepo = z
  .union([repoUpload, repoRemote], {
    error: 'is neither an upload ({ upload, shallow? }) nor a repository to clone ({ url, ref?, hostKeys? })',
  })
  .meta({ description: 'An upload, or what the first run clones as its policy lets it' });

export const createSession = z.strictObject({
  name: name.optional(),
  repo: sessionRepo.optional(),
  egress: egressNames
    .optional()
    .meta({ description: 'What its runs may reach that do not say it themselves' }),
  /** Due with `full`, and taken with nothing else. */
  egressReason: reason.optional(),
  team: teamName
    .optional()
    .meta({ description: 'A team of yours, whose members then see and use it as you do' }),
  attach: attachChoice
    .optional()
    .meta({ description: 'Switches attaching to its runs on from the beginning; needs control:write' }),
});
export const patchSession = z.strictObject({ name });

export const session = z.object({
  id: sessionId,
  name: z.string().nullable(),
  phase: z.enum(sessionPhases),
  owner: z.string(),
  team: z.string().nullable().meta({ description: 'Whose members see and use it too' }),
  repo: z.boolean().meta({ description: 'Whether the workspace is made from a repository' }),
  remote: z
    .object({ url: z.string(), ref: z.string().nullable() })
    .nullable()
    .meta({ description: 'What is cloned; null for an upload and for no repository' }),
  createdAt: time,
  closedAt: time.nullable(),
  liveRuns: z.int(),
  egress: egressView.meta({ description: 'What its runs may reach that do not say it themselves' }),
  attach: attachSettings,
});

export const createRun = z.strictObject({
  session: sessionId,
  command,
  name: name.optional(),
  env: environment.optional(),
  cwd: cwd.optional(),
  limits: limits.optional(),
  timeoutSeconds: timeoutSeconds.optional(),
  priority: z.int().min(-100).max(100).optional(),
  /** Refuses to run where memory, processes or CPU cannot be held by control groups. */
  strict: z.boolean().optional(),
  /** Whether the change of the workspace is collected when the command ends; true where absent. */
  diff: z.boolean().optional(),
  egress: egressNames.optional(),
  /** Due with `full`, and taken with nothing else. */
  egressReason: reason.optional(),
  terminal: terminalSizeSchema.optional().meta({
    description: 'Runs it in a terminal of this size, which is recorded; where absent it has pipes',
  }),
});

/** `env` is due where the parent had one: its values were dropped when it started. */
export const resumeRun = z.strictObject({
  command: command.optional(),
  name: name.optional(),
  env: environment.optional(),
});
export const patchRun = z.strictObject({ name });

const means = z.enum([
  'cgroup-v2',
  'cgroup-v1',
  'quota',
  'affinity',
  'rlimit',
  'watcher',
  'timer',
] satisfies LimitMeans[]);

export const artifact = z.object({
  name: z.string().meta({ example: 'diff' }),
  mediaType: z.string(),
  bytes: z.int(),
  sha256: z.string(),
});

export const run = z.object({
  id: runId,
  session: sessionId,
  parent: runId.nullable(),
  name: z.string().nullable(),
  owner: z.string(),
  team: z.string().nullable().meta({ description: 'Its session’s' }),
  command: z.array(z.string()),
  envNames: z.array(z.string()).meta({ description: 'The names only: values may be secret' }),
  cwd: z.string().nullable(),
  limits: z.object({
    cpus: z.number(),
    memoryBytes: z.int(),
    pids: z.int(),
    diskBytes: z.int(),
    outputBytes: z.int(),
  }),
  timeoutSeconds: z.int(),
  priority: z.int(),
  strict: z.boolean(),
  terminal: z
    .object({ id: id('terminal', 'trm_01kamcq5r8v0x4m2e7hj9n3tzb'), ...terminalSizeSchema.shape })
    .nullable()
    .meta({ description: 'Its terminal, and the size that this began with; null where it has pipes' }),
  egress: egressView.meta({ description: 'What it may reach: presets and policies by name, in their order' }),
  phase: z.enum(runPhases),
  cause: z.enum(failureCauses).nullable(),
  reason: z.string().nullable(),
  exitCode: z.int().nullable().meta({ description: '128 + n after a death by signal n' }),
  signal: z.string().nullable(),
  createdAt: time,
  startedAt: time.nullable(),
  finishedAt: time.nullable(),
  heldBy: z
    .object({ cpus: means, memory: means, pids: means, disk: means, time: means })
    .nullable()
    .meta({ description: 'What holds each limit; null until the sandbox is made' }),
  usage: z
    .object({
      cpuSeconds: z.number(),
      peakMemoryBytes: z.int(),
      peakPids: z.int(),
      diskBytes: z.int(),
      outputBytes: z.int(),
    })
    .nullable(),
  artifacts: z.array(artifact),
  filesExpired: z
    .boolean()
    .meta({ description: 'Whether logs, artifacts and flows were removed after their time' }),
});

export const upload = z.object({ id: uploadId, bytes: z.int(), sha256: z.string(), createdAt: time });

export const createToken = z.strictObject({
  name,
  scopes: z.array(z.enum(scopes)).min(1).max(scopes.length),
  /** Whom the token stands for; the creator where absent. */
  actor: z.string().max(80).optional(),
  reach: z.enum(reaches).optional(),
  expiresInSeconds: z.int().min(1).max(apiLimits.tokenLifeSecondsMax).optional(),
});

export const token = z.object({
  id: tokenId,
  name: z.string(),
  actor: z.string(),
  scopes: z.array(z.string()),
  reach: z.enum(reaches),
  createdAt: time,
  expiresAt: time.nullable(),
  lastUsedAt: time.nullable(),
});

/** The only answer that ever holds the secret; it is stored hashed. */
export const createdToken = token.extend({ token: z.string() });

export const putPolicy = z.strictObject({
  document: policyDocument,
  reason: reason.optional(),
  team: teamName.nullable().optional().meta({
    description:
      'A team of yours, for its members alone; null for everybody who may read policies. Absent, it stays as it is.',
  }),
});

/** One generation of a policy, without its document. */
export const policySummary = z.object({
  name: z.string(),
  generation: z.int(),
  owner: z.string().meta({ description: 'Who made its first generation' }),
  team: z.string().nullable().meta({
    description:
      'Whose members see and use it; null for everybody who may read policies, - for its owner alone, once its team was removed',
  }),
  author: z.string(),
  reason: z.string().nullable(),
  createdAt: time,
  removed: z.boolean(),
});

export const policy = policySummary.omit({ removed: true }).extend({ document: policyDocument });

export const preset = z.object({
  name: z.string(),
  source: z.string().meta({ description: 'The public page that says which hosts these are' }),
  rules: z
    .array(
      z.object({
        host: z.string().exactOptional(),
        cidr: z.string().exactOptional(),
        ports: z.array(z.int()),
        protocol: z.enum(egressProtocols),
      }),
    )
    .meta({ description: 'Each for a host, or for a network that this server was set up with' }),
});

/** Hosts, addresses, methods and paths are the sandbox's own words: untrusted text. */
export const egressFlow = z.object({
  id: z.int(),
  at: time,
  host: z.string().nullable(),
  address: z.string().nullable(),
  port: z.int(),
  protocol: z.enum([...egressProtocols, 'dns']).nullable(),
  method: z.string().nullable(),
  path: z.string().nullable(),
  verdict: z.enum(['allowed', 'denied']),
  rule: z.string().nullable(),
  denial: z.enum(egressDenials).nullable(),
  generation: z.int(),
  count: z.int().meta({ description: 'How many like it this stands for' }),
  end: z
    .object({
      at: time,
      outcome: z.enum(['closed', 'reset', 'cut', 'timed-out', 'unreachable']),
      bytesOut: z.int(),
      bytesIn: z.int(),
    })
    .nullable()
    .meta({ description: 'How an allowed flow ended; null until that is known' }),
});

export const egressCounts = z
  .object({ allowed: z.int(), denied: z.int(), bytesOut: z.int(), bytesIn: z.int() })
  .nullable()
  .meta({ description: 'Of the whole run; null on pages after the first' });

/** What is simulated: the rules of all in their order. */
const candidates = z
  .array(
    z
      .strictObject({ name: egressName.optional(), document: policyDocument.optional() })
      .refine(({ name, document }) => (name === undefined) !== (document === undefined), {
        message: 'does not have exactly one of name and document',
      }),
  )
  .min(1)
  .max(apiLimits.egressNamesMax)
  .meta({
    description: 'Presets and policies by name (or `full`), and documents that are called `candidate`',
  });

export const durationPattern = /^(\d{1,6})([smhdw])$/;

const since = z
  .string()
  .refine((text) => durationPattern.test(text) || time.safeParse(text).success, {
    message: 'is neither a duration such as 30m, 12h or 7d nor a time such as 2026-01-31T12:00:00Z',
  })
  .meta({ description: 'A duration before now, or a time; 7d where absent', example: '7d' });

export const simulateEgress = z
  .strictObject({
    policies: candidates,
    since: since.optional(),
    run: runId.optional(),
    session: sessionId.optional(),
  })
  .refine(({ run, session }) => run === undefined || session === undefined, {
    message: 'has both run and session',
    path: ['session'],
  });

/** Hosts, addresses, methods and paths are the sandboxes' own words: untrusted text. */
export const simulatedGroup = egressFlow
  .pick({ host: true, address: true, port: true, protocol: true, method: true, path: true })
  .extend({
    was: z.enum(['allowed', 'denied']),
    would: z.enum(['allowed', 'denied', 'unknown']),
    rule: z.string().nullable().meta({ description: 'What would let it through' }),
    denial: z.enum(egressDenials).nullable().meta({ description: 'Why it would be denied' }),
    unknown: z.enum(unknownFacts).nullable().meta({ description: 'What the record does not say' }),
    count: z.int(),
    runs: z.int(),
  });

export const egressSimulation = z.object({
  since: time,
  runs: z.int().meta({ description: 'Runs whose flows were looked at' }),
  totals: z.object({
    flows: z.int(),
    unchanged: z.int(),
    newlyDenied: z.int(),
    newlyAllowed: z.int(),
    unknown: z.int(),
  }),
  groups: z.array(simulatedGroup).meta({ description: 'What would change or cannot be told, most first' }),
  more: z
    .object({ groups: z.int(), flows: z.int() })
    .meta({ description: 'What would change or cannot be told and is not in the list' }),
  truncated: z
    .boolean()
    .meta({ description: 'Whether older flows were left out because there are too many' }),
});

export const pageQuery = z.strictObject({
  cursor: z.string().max(512).optional(),
  limit: z.coerce.number().int().min(1).max(apiLimits.pageMax).optional(),
});

export const sessionQuery = pageQuery.extend({
  phase: z.enum(sessionPhases).optional(),
  name: z.string().max(256).optional(),
});

export const runQuery = pageQuery.extend({
  session: sessionId.optional(),
  phase: z.enum(runPhases).optional(),
  name: z.string().max(256).optional(),
});

/** `after` is the id of the last flow seen, for whoever follows a live run. */
export const egressQuery = pageQuery.extend({
  after: z.coerce.number().int().min(0).optional(),
  verdict: z.enum(['allowed', 'denied']).optional(),
  host: z.string().min(1).max(253).optional(),
});

export const policyQuery = z.strictObject({ generation: z.coerce.number().int().min(1).optional() });

export const logQuery = z.strictObject({
  /** Where to go on: the `id` of the last event seen. `Last-Event-ID` says the same. */
  offset: z.coerce.number().int().min(0).optional(),
  follow: z.enum(['true', 'false']).optional(),
  stream: z.enum(['stdout', 'stderr']).optional(),
});

/** One page of a list; a null cursor says that it is the last. */
export function page<T extends z.ZodType>(item: T) {
  return z.object({ items: z.array(item), nextCursor: z.string().nullable() });
}

export const problem = z.object({
  type: z.string(),
  title: z.string(),
  status: z.int(),
  code: z.string(),
  detail: z.string(),
  requestId: z.string(),
});

/** What one `stdout` or `stderr` event of the log stream carries: text when the bytes are UTF-8, else base64. */
export const logChunk = z.union([z.object({ text: z.string() }), z.object({ base64: z.string() })]);

export const logEnd = z.object({
  phase: z.enum(runPhases),
  cause: z.enum(failureCauses).nullable(),
  reason: z.string().nullable(),
  exitCode: z.int().nullable(),
  signal: z.string().nullable(),
});

export type SessionView = z.infer<typeof session>;
export type RunView = z.infer<typeof run>;
export type TokenView = z.infer<typeof token>;
export type UploadView = z.infer<typeof upload>;
export type CreateSession = z.infer<typeof createSession>;
export type CreateRun = z.infer<typeof createRun>;
export type ResumeRun = z.infer<typeof resumeRun>;
export type CreateToken = z.infer<typeof createToken>;
export type CreatedToken = z.infer<typeof createdToken>;
export type PutPolicy = z.infer<typeof putPolicy>;
export type PolicyView = z.infer<typeof policy>;
export type PolicySummaryView = z.infer<typeof policySummary>;
export type PresetView = z.infer<typeof preset>;
export type EgressFlowView = z.infer<typeof egressFlow>;
export type EgressCountsView = z.infer<typeof egressCounts>;
export type SimulateEgress = z.infer<typeof simulateEgress>;
export type EgressSimulationView = z.infer<typeof egressSimulation>;
export type Problem = z.infer<typeof problem>;
export type LogEnd = z.infer<typeof logEnd>;
