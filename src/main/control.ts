import { accessSync, constants, readFileSync, rmSync } from 'node:fs';
import { hostname } from 'node:os';
import { extname, join } from 'node:path';
import { openAccessEngine } from '../access/engine.ts';
import { KeyFile } from '../audit/key-file.ts';
import { openAuditLog, type SignedAuditLog } from '../audit/log.ts';
import { openSinks } from '../audit/sinks/sinks.ts';
import { Witnesses } from '../audit/witnesses/pusher.ts';

import { systemClock } from '../base/clock.ts';
import { apiLimits } from '../contract/limits.ts';
import type { ProviderSettings } from '../contract/providers.ts';
import type { SinkSettings } from '../contract/sinks.ts';
import type { WitnessSettings } from '../contract/witnesses.ts';
import { openSearchThread } from '../control/audit/search-thread.ts';
import { openAccessSet } from '../control/identity/access-set.ts';
import type { Logger } from '../control/logger.ts';
import { openControl } from '../control/open.ts';
import { localOwner } from '../identity/local-owner.ts';
import { openIdentityDirectory } from '../identity/open.ts';
import { openProviders } from '../identity/providers/open.ts';
import { openSealing } from '../identity/sealing.ts';
import { newId } from '../model/ids.ts';
import { defaultRunLimits } from '../model/limits.ts';
import { openRedactor, type Redactor } from '../redaction/redactor.ts';
import { SecretValues } from '../redaction/secret-values.ts';
import type { MachineAuthority } from '../server/machines.ts';
import { readPages } from '../server/pages.ts';
import { openServer } from '../server/server.ts';
import { openTlsSource, type TlsPair, type TlsSource } from '../server/tls.ts';
import { openSqliteStore } from '../store/sqlite/open.ts';
import type { Store } from '../store/store.ts';
import { endOnSignals, readConfiguration, reportFatal, reportReady } from './child.ts';
import { openFeatureFlags } from './feature-flags.ts';
import { withFreePort } from './free-port.ts';
import { identitySettings } from './identity-settings.ts';
import { openProcessLog } from './process-log.ts';
import type { Settings } from './settings.ts';
import { clientNetworks, publicUrlOf, signInConfig } from './sign-in-site.ts';

/** What `up` tells control. */
export type ControlConfiguration = {
  /** Control's own part of the data folder. */
  readonly folder: string;
  readonly auditFolder: string;
  /** Where the flags file is, unless the settings name another. */
  readonly homeFolder: string;
  readonly runnerSocket: string;
  readonly bootstrapToken: string | null;
  /** Where people may sign in besides here, with the secrets for it. */
  readonly providers: readonly ProviderSettings[];
  /** Where events go besides the log, with the secrets for it. */
  readonly sinks: readonly SinkSettings[];
  /** Where checkpoints are kept besides, with the secrets for it. */
  readonly witnesses: readonly WitnessSettings[];
  readonly settings: Settings;
  /** What `listen` speaks TLS with; null for plain HTTP. Updated by `{ tls }`. */
  readonly tls: TlsPair | null;
  readonly version: string;
};

const stream = 'control';
const hourMs = 3600 * 1000;

async function main(): Promise<void> {
  process.umask(0o077);
  let close = async () => {};
  const end = endOnSignals(() => close());
  const { configuration, tls } = await configured(end);
  const { folder, settings } = configuration;
  const secretValues = ownSecrets(configuration);
  const redactor = openRedactor(secretValues);
  const logger = openProcessLog('control', settings.logLevel, redactor);
  const listen = await withFreePort(settings.listen);
  const kept = await openKept(configuration, { listen, logger, redactor });
  const sinks = await openAuditSinks(configuration, kept.audit, logger);
  const witnesses = await openAuditWitnesses(configuration);
  const control = await openControl({
    ...kept.directory,
    ...kept,
    secretValues,
    sinks,
    witnesses,
    auditFolder: configuration.auditFolder,
    signIn: signInConfig(settings, publicUrlOf(settings, listen.port)),
    providers: openProviders(configuration.providers, systemClock),
    runner: { socketPath: configuration.runnerSocket, key: readFileSync(join(folder, 'channel.key')) },
    clock: systemClock,
    logger,
    config: controlConfig(settings),
  });
  const localSocketPath = join(folder, 'local.sock');
  rmSync(localSocketPath, { force: true });
  const server = await openServer({
    ...serverOptions(configuration, { listen, authority: kept.directory.authority }),
    pages: readPages(join(import.meta.dirname, 'web')),
    tls,
    sharedCounts: {
      add: (counts, endsAt) => kept.store.identity.attempts.addAll(counts, endsAt, systemClock.now()),
    },
    control,
    logger,
    localSocketPath,
  });
  close = async () => {
    await server.close();
    await control.close();
    await sinks.close();
    await witnesses.close();
    await kept.close();
  };
  logger.info({ address: server.address }, 'control is ready');
  reportReady({
    address: server.address,
    machinesAddress: server.machinesAddress,
    awaitsAdmin: await awaitsAdmin(kept.store, settings),
  });
}

/** Whether people may be administrators here, and none is yet. */
async function awaitsAdmin(store: Store, { localSignIn }: Settings): Promise<boolean> {
  return localSignIn === 'yes' && (await store.identity.users.countByRole('admin')) === 0;
}

/** What lasts, the record and the store, and what is kept in memory of it and follows its changes. */
async function openKept(
  configuration: ControlConfiguration,
  { listen, logger, redactor }: { listen: Settings['listen']; logger: Logger; redactor: Redactor },
) {
  const { folder, homeFolder, settings } = configuration;
  const { audit, auditKey } = await openAudit(configuration, redactor);
  const store = await openSqliteStore({ file: join(folder, 'store.sqlite') });
  const sealing = openSealing(readFileSync(join(folder, 'identity.key')));
  const directory = await openIdentityDirectory({
    store,
    clock: systemClock,
    ...identitySettings(settings, listen.port),
    sealing,
    bootstrap: { secret: configuration.bootstrapToken },
    onError: (error) => logger.warn({ error: String(error) }, 'identity is not up to date'),
  });
  const { changes } = directory;
  const { flagsFile } = settings;
  const flags = await openFeatureFlags({
    store: store.identity.flags,
    changes,
    flagsFile,
    homeFolder,
    logger,
  });
  const engine = openAccessEngine({ networks: clientNetworks(settings) });
  const access = await openAccessSet({ engine, store: store.identity.accessPolicies, changes, logger });
  const search = openSearchThread({
    program: new URL(`./audit-search${extname(import.meta.filename)}`, import.meta.url),
    folder: configuration.auditFolder,
    file: join(folder, 'audit-index.sqlite'),
    heads: new Map([[stream, audit.head().seq]]),
    logger,
  });
  audit.onAppended(() => search.advanced(stream, audit.head().seq));
  const close = async () => {
    await search.close();
    access.close();
    await flags.close();
    await directory.close();
    await store.close();
    await audit.close();
  };
  return { audit, auditKey, search, store, sealing, directory, flags, access, close };
}

function serverOptions(
  { settings, version }: ControlConfiguration,
  { listen, authority }: { listen: Settings['listen']; authority: MachineAuthority },
) {
  const { mtlsListen } = settings;
  return {
    machines: mtlsListen === null ? null : { listen: mtlsListen, authority, names: namesOf(settings) },
    listen,
    identity: { localOwner },
    version,
    trustedProxies: settings.trustedProxies,
    origins: settings.publicUrl === null ? [] : [settings.publicUrl],
    rateLimits: rateLimits(settings),
  };
}

/** What `up` says, and what the listener speaks TLS with: `up` hands over each pair that takes the place of another. */
async function configured(
  end: () => void,
): Promise<{ configuration: ControlConfiguration; tls: TlsSource | null }> {
  let source: ReturnType<typeof openTlsSource> | null = null;
  const configuration = await readConfiguration<ControlConfiguration>(end, (update) =>
    source?.change((update as { tls: TlsPair }).tls),
  );
  source = configuration.tls === null ? null : openTlsSource(configuration.tls);
  return { configuration, tls: source };
}

/** What this process holds from its start on and must never write down. */
function ownSecrets({ folder, bootstrapToken, providers, ...rest }: ControlConfiguration): SecretValues {
  const values = new SecretValues();
  const holder = 'control';
  if (bootstrapToken !== null) values.hold(holder, 'bootstrap-token', bootstrapToken);
  for (const { clientSecret } of providers)
    if (clientSecret !== null) values.hold(holder, 'client-secret', clientSecret);
  for (const { secret } of rest.sinks) if (secret !== null) values.hold(holder, 'sink-secret', secret);
  for (const { secret } of rest.witnesses) if (secret !== null) values.hold(holder, 'witness-secret', secret);
  for (const name of ['identity', 'channel'])
    values.hold(holder, `${name}-key`, readFileSync(join(folder, `${name}.key`)));
  return values;
}

async function openAudit({ auditFolder, folder }: ControlConfiguration, redactor: Redactor) {
  const auditKey = await KeyFile.open(join(folder, 'audit-ed25519.pem'));
  const audit = await openAuditLog({
    folder: auditFolder,
    stream,
    clock: systemClock,
    newId: () => newId('event', systemClock.now()),
    redactor,
    signingKeys: auditKey.keys,
    keptCheckpoint: join(folder, 'audit.checkpoint'),
  }).catch((error: unknown) => {
    const why = error instanceof Error ? error.message : String(error);
    const what = `run 'sealwright audit verify', and see "When a start is refused" in docs/reference/audit.md`;
    throw new Error(`The audit log cannot be gone on with: ${why}. To find out more, ${what}.`, {
      cause: error,
    });
  });
  await auditKey.settle(audit);
  return { audit, auditKey };
}

/** What goes out is read from the disk: nothing waits for it, and its problems stop nothing. */
async function openAuditSinks(
  { auditFolder, folder, sinks, version }: ControlConfiguration,
  audit: SignedAuditLog,
  logger: Logger,
) {
  return await openSinks({
    settings: sinks,
    folder: auditFolder,
    stateFolder: join(folder, 'sinks'),
    heads: {
      headOf: (name) => (name === stream ? audit.head().seq : null),
      onAdvance: (listener) => audit.onAppended(listener),
    },
    hostname: hostname(),
    version,
    clock: systemClock,
    random: Math.random,
    onProblem: (facts, message) => logger.warn(facts, message),
  });
}

async function openAuditWitnesses({ witnesses: settings, version }: ControlConfiguration) {
  return await Witnesses.open({ settings, version, clock: systemClock, random: Math.random });
}

/** Where machines may look for the listener that is theirs. */
function namesOf({ mtlsListen, publicUrl }: Settings): readonly string[] {
  const outside = publicUrl === null ? [] : [new URL(publicUrl).hostname.replace(/^\[|\]$/g, '')];
  const own = [mtlsListen?.host ?? ''].filter((host) => !['', '0.0.0.0', '::'].includes(host));
  return [...new Set(['localhost', '127.0.0.1', '::1', ...own, ...outside])];
}

function rateLimits(settings: Settings) {
  return {
    default: settings.requestsPerMinute,
    write: settings.writesPerMinute,
    admin: settings.adminPerMinute,
    signIn: settings.signInsPerMinute,
  };
}

function controlConfig(settings: Settings) {
  return {
    maxRuns: settings.maxRuns,
    maxRunsPerSession: settings.maxRunsPerSession,
    liveRunsPerOwnerMax: settings.runsPerOwner,
    sessionsPerOwnerMax: settings.sessionsPerOwner,
    uploadBytesMax: apiLimits.uploadBytesMax,
    runFilesTtlMs: settings.filesKeptHours * hourMs,
    uploadTtlMs: hourMs,
    sweepEveryMs: 60_000,
    defaultLimits: defaultRunLimits,
    strictRuns: settings.strict === 'yes',
    githubNetworks: settings.githubEgressCidrs,
    elevationApproval: settings.elevationApproval === 'yes',
    auditRetention: retentionOf(settings),
  };
}

/** Throws, with the fix, where control cannot write where it is to archive. */
function retentionOf({ auditKeptDays, auditArchive: archive }: Settings) {
  if (auditKeptDays === null || archive === null) return null;
  try {
    accessSync(archive, constants.W_OK | constants.X_OK);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw new Error(
      `auditArchive: ${archive} cannot be written (${code}): make it a folder of control's user`,
    );
  }
  return { keptMs: auditKeptDays * 24 * hourMs, archive, everyMs: hourMs };
}

main().catch(reportFatal);
