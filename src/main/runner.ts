import { createPrivateKey } from 'node:crypto';
import { chmodSync, chownSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Heartbeat } from '../audit/heartbeat.ts';
import { listenChannel } from '../base/channel.ts';
import { systemClock } from '../base/clock.ts';
import { newId } from '../model/ids.ts';
import { openRedactor, type Redactor } from '../redaction/redactor.ts';
import { SecretValues } from '../redaction/secret-values.ts';
import { EgressRelay } from '../runner/egress-relay.ts';
import { GatewayProcess } from '../runner/gateway-process.ts';
import { runnerLimits } from '../runner/limits.ts';
import { RunnerRecord } from '../runner/record.ts';
import { Runner } from '../runner/runner.ts';
import { serveControl } from '../runner/serve.ts';
import { openLocalBackend } from '../sandbox/local/open.ts';
import { endOnSignals, readConfiguration, reportFatal, reportReady } from './child.ts';
import { gatewayUid } from './home.ts';
import { openProcessLog } from './process-log.ts';

/** What `up` tells the runner. */
export type RunnerConfiguration = {
  readonly folder: string;
  readonly mode: 'root' | 'user';
  /** Who may connect; null when that is the runner's own user. */
  readonly controlUid: number | null;
  readonly instance: string;
  readonly logLevel: string;
  /** DNS servers that the gateway asks, `address` or `address:port`; the machine's own where empty. */
  readonly resolvers: readonly string[];
  /** PEM certificates that upstreams are verified with besides the machine's. */
  readonly authorities: readonly string[];
};

async function main(): Promise<void> {
  process.umask(0o022);
  let close = async () => {};
  const end = endOnSignals(() => close());
  const configuration = await readConfiguration<RunnerConfiguration>(end);
  const { folder, mode, controlUid, instance } = configuration;
  const secretValues = new SecretValues();
  const channelKey = readFileSync(join(folder, 'channel.key'));
  secretValues.hold('runner', 'channel-key', channelKey);
  const redactor = openRedactor(secretValues);
  const log = openProcessLog('runner', configuration.logLevel, redactor);
  // One connection's or one run's mistake must not end every run of the host.
  process.on('unhandledRejection', (error) =>
    log.error(
      { error: String(error), stack: (error as Error)?.stack },
      'a promise was rejected and nobody listened',
    ),
  );
  const sandboxFolder = join(folder, 'sandbox');
  mkdirSync(sandboxFolder, { recursive: true });
  chmodSync(sandboxFolder, 0o755);
  const record = await openRecord(configuration, redactor, log);
  const egress = new EgressRelay({ record, clock: systemClock, log });
  const gateway = await GatewayProcess.start({
    words: gatewayWords(mode),
    configuration: {
      logLevel: configuration.logLevel,
      resolvers: configuration.resolvers,
      authorities: configuration.authorities,
    },
    relay: egress,
    log,
  });
  const backend = await openLocalBackend({
    folder: sandboxFolder,
    gateway,
    clock: systemClock,
    instance,
    mode,
    probeUid: mode === 'root' ? runnerLimits.firstSessionUid - 1 : null,
    workerUrl: new URL('./namespace-worker.js', import.meta.url),
  });
  const runner = new Runner({ folder, backend, clock: systemClock, log, record, egress, secretValues });
  const heartbeat = new Heartbeat({
    log: record,
    stream: record.stream,
    others: () => (runner.controlCheckpoint === null ? [] : [runner.controlCheckpoint]),
  });
  const path = join(folder, 'runner.sock');
  rmSync(path, { force: true });
  const server = await listenChannel({
    path,
    key: channelKey,
    serve: (channel) => serveControl(runner, channel),
    onError: (error) => log.debug({ error: String(error) }, 'a connection ended badly'),
  });
  if (controlUid !== null) chownSync(path, controlUid, controlUid);
  close = async () => {
    server.close();
    await runner.close();
    await gateway.close();
    await egress.close();
    await heartbeat.close();
    await record.close();
  };
  log.info({ backend: backend.name, mode, heldBy: backend.heldBy }, 'the runner is ready');
  reportReady({ mode, heldBy: backend.heldBy });
}

/** In a folder that nobody else enters; without it nothing may be let through, so there is no runner without it. */
async function openRecord(
  { folder, mode }: RunnerConfiguration,
  redactor: Redactor,
  log: ReturnType<typeof openProcessLog>,
): Promise<RunnerRecord> {
  return await RunnerRecord.open(
    {
      folder: join(folder, 'audit'),
      clock: systemClock,
      newId: () => newId('event', systemClock.now()),
      redactor,
      onError: (error) => log.warn({ error: String(error) }, 'old events could not be dropped'),
      signingKey: createPrivateKey(readFileSync(join(folder, 'audit-ed25519.pem'))),
    },
    { mode },
  );
}

/** The gateway is nobody: as root a user of its own, otherwise this user without capabilities. */
function gatewayWords(mode: 'root' | 'user'): string[] {
  const confined =
    mode === 'root'
      ? [`--reuid=${gatewayUid}`, `--regid=${gatewayUid}`, '--clear-groups', '--inh-caps=-all']
      : ['--bounding-set=-all', '--inh-caps=-all'];
  const script = fileURLToPath(new URL('./gateway.js', import.meta.url));
  return ['/usr/bin/setpriv', ...confined, '--no-new-privs', '--', process.execPath, script];
}

main().catch(reportFatal);
