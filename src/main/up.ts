import { mkdirSync, openSync, renameSync, rmdirSync, statSync } from 'node:fs';
import { homedir, userInfo } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { systemClock } from '../base/clock.ts';
import { profilePath, readProfile, writeProfile } from '../cli/profile.ts';
import { type Client, createClient } from '../client/client.ts';
import { newTokenSecret } from '../identity/token-secret.ts';
import { roles } from '../model/scopes.ts';
import type { ControlConfiguration } from './control.ts';
import {
  bootstrapToken,
  controlUid,
  type Home,
  HomeError,
  homeAt,
  homeErrorOf,
  lockHome,
  prepareArchive,
  prepareHome,
} from './home.ts';
import { launch, type Part, type RunningPart, rootWords, userWords } from './launch.ts';
import { readProviders } from './providers-file.ts';
import type { RunnerConfiguration } from './runner.ts';
import {
  dataFolderOf,
  flagName,
  readAuthorities,
  readSettings,
  readSettingsFile,
  SettingError,
  type Settings,
  settingTable,
} from './settings.ts';
import { readSinks } from './sinks-file.ts';
import { stageProgram } from './stage.ts';
import { followTlsFiles, readTlsPair, tlsPathsOf } from './tls-files.ts';
import { version } from './version.ts';
import { readWitnesses } from './witnesses-file.ts';

/**
 * `sealwright up`: prepares the data folder, starts control and runner, keeps them running and ends them in
 * order. It holds the data folder's lock and does nothing else, so it has nothing that could be taken over.
 */

const asRoot = process.getuid?.() === 0;
const dist = import.meta.dirname;
const restart = { firstMs: 200, mostMs: 5_000, stableMs: 30_000 } as const;
const lockWaitMs = 8_000;
const readyWaitMs = 10_000;
const logBytesMax = 16 * 1024 * 1024;

class StartError extends Error {}

async function main(): Promise<void> {
  const startedAt = systemClock.monotonic();
  const { flags, home } = readCommandLine();
  const settings = readSettings({
    flags,
    environment: process.env,
    file: readSettingsFile(join(home.path, 'config.yaml')),
  });
  const { parts, view, token } = await prepare(home, settings);
  const supervisor = new Supervisor([parts.runner, parts.control]);
  const end = (status: number) => supervisor.end().then(() => leave(view, home, status));
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => void end(0));
  try {
    const facts = await supervisor.start();
    const address = String(facts.control.address);
    supervisor.reconfigureControl((configuration) => atPortOf(address, configuration));
    followTls(parts.control.configuration, supervisor);
    await writeOwnProfile(home, ownUrl(settings, address));
    await untilReady(home, address);
    announce(home, facts, systemClock.monotonic() - startedAt, token !== null);
  } catch (error) {
    if (supervisor.ending) return;
    await supervisor.end();
    await leave(view, home, 1, error);
  }
}

type Prepared = {
  readonly parts: ReturnType<typeof describeParts>;
  readonly view: string;
  readonly token: string | null;
};

/** Makes what the parts need of the data folder. Throws HomeError with the fix where it cannot be had. */
async function prepare(home: Home, settings: Settings): Promise<Prepared> {
  prepareHome(home, asRoot, settings.auditFolder);
  if (settings.auditArchive !== null) prepareArchive(settings.auditArchive, asRoot);
  const lockFd = await takeLock(home);
  const view = asRoot ? makeView(home) : home.path;
  try {
    const token =
      settings.env === 'prod' ? null : bootstrapToken(home, settings.bootstrapToken, newTokenSecret);
    return { parts: describeParts({ home, settings, token, view, lockFd }), view, token };
  } catch (error) {
    removeView(view, home);
    throw homeErrorOf(home, error);
  }
}

function readCommandLine(): { flags: Record<string, string | undefined>; home: Home } {
  const options = Object.fromEntries(
    Object.keys(settingTable).map((name) => [flagName(name as keyof Settings), { type: 'string' as const }]),
  );
  try {
    const { values } = parseArgs({
      args: process.argv.slice(2),
      options: { ...options, help: { type: 'boolean', short: 'h' } },
      strict: true,
    });
    if (values.help === true) {
      console.log(usage());
      process.exit(0);
    }
    return {
      flags: values as Record<string, string | undefined>,
      home: homeAt(dataFolderOf(process.env, process.getuid?.() ?? -1)),
    };
  } catch (error) {
    throw new SettingError(`${(error as Error).message}\n${usage()}`);
  }
}

function usage(): string {
  const lines = Object.entries(settingTable).map(
    ([name, setting]) => `  --${flagName(name as keyof Settings).padEnd(22)} ${setting.about}`,
  );
  return [
    'Usage: sealwright up [options]',
    '',
    'Starts the server in this terminal; Ctrl-C stops it. SEALWRIGHT_HOME names the data folder.',
    '',
    ...lines,
  ].join('\n');
}

/** Waits a moment for what an earlier start left to end. */
async function takeLock(home: Home): Promise<number> {
  for (const deadline = systemClock.monotonic() + lockWaitMs; ; ) {
    const fd = lockHome(home);
    if (fd !== null) return fd;
    if (systemClock.monotonic() > deadline) {
      throw new StartError(
        `Another sealwright is running on the data folder ${home.path}. Stop it first, or set SEALWRIGHT_HOME to another folder.`,
      );
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** Where root's processes and sandboxes find the data folder, whatever lies above it. */
function makeView(home: Home): string {
  const view = join('/run/sealwright', home.instance);
  mkdirSync(view, { recursive: true, mode: 0o755 });
  return view;
}

function describeParts(context: {
  home: Home;
  settings: Settings;
  token: string | null;
  view: string;
  lockFd: number;
}): { runner: Part; control: Part & { readonly configuration: ControlConfiguration } } {
  const { home, settings, token, view, lockFd } = context;
  const seen = homeAt(view);
  const staged = asRoot
    ? stageProgram({ dist, modules: join(dist, '..', 'node_modules'), node: process.execPath, app: home.app })
    : { node: process.execPath, dist };
  const tlsPaths = tlsPathsOf(settings);
  const control: ControlConfiguration = {
    folder: seen.control,
    auditFolder: settings.auditFolder ?? seen.audit,
    homeFolder: seen.path,
    runnerSocket: join(seen.runner, 'runner.sock'),
    bootstrapToken: token,
    providers: readProviders(settings.providersFile ?? join(home.path, 'providers.yaml'), {
      optional: settings.providersFile === null,
    }),
    sinks: readSinks(settings.sinksFile ?? join(home.path, 'sinks.yaml'), {
      optional: settings.sinksFile === null,
    }),
    witnesses: readWitnesses(settings.witnessesFile ?? join(home.path, 'witnesses.yaml'), {
      optional: settings.witnessesFile === null,
    }),
    settings,
    tls: tlsPaths === null ? null : readTlsPair(tlsPaths, systemClock.now()),
    version,
  };
  const runner: RunnerConfiguration = {
    folder: seen.runner,
    mode: asRoot ? 'root' : 'user',
    controlUid: asRoot ? controlUid : null,
    instance: home.instance,
    logLevel: settings.logLevel,
    resolvers: settings.resolvers,
    authorities: readAuthorities(settings.egressCaFile),
  };
  checkSocketPath(control.runnerSocket);
  checkSocketPath(join(seen.control, 'local.sock'));
  const script = (name: Part['name']) =>
    asRoot ? join(view, staged.dist.slice(home.path.length), `${name}.js`) : join(staged.dist, `${name}.js`);
  const node = asRoot ? join(view, staged.node.slice(home.path.length)) : staged.node;
  const words = (name: Part['name']) =>
    asRoot
      ? rootWords({ home: home.path, path: view }, node, script(name), name)
      : userWords(node, script(name), name);
  const part = <C>(name: Part['name'], configuration: C) => ({
    name,
    words: words(name),
    configuration,
    logFd: openLog(home, name),
    lockFd,
  });
  return { runner: part('runner', runner), control: part('control', control) };
}

/**
 * Another pair in the files reaches control, and one that starts later. It is read here, where the user who started the
 * server reads it: control may be a user of its own, who must not need the right to.
 */
function followTls({ settings, tls }: ControlConfiguration, supervisor: Supervisor): void {
  const paths = tlsPathsOf(settings);
  if (paths === null || tls === null) return;
  followTlsFiles({
    paths,
    current: tls,
    now: () => systemClock.now(),
    onPair: (pair) => {
      supervisor.reconfigureControl((before) => ({ ...before, tls: pair }));
      supervisor.tellControl({ tls: pair });
    },
    onProblem: (message) =>
      console.error(`sealwright: the TLS certificate in use stays, because of what was found: ${message}`),
  });
}

/** A control that is started again takes the port that the first one found free, because its callers know that one. */
function atPortOf(address: string, control: ControlConfiguration): ControlConfiguration {
  const { settings } = control;
  if (settings.listen.port !== 0) return control;
  const listen = { ...settings.listen, port: Number(new URL(address).port) };
  return { ...control, settings: { ...settings, listen } };
}

function checkSocketPath(path: string): void {
  const bytesMax = 107; // unix(7): sun_path holds 108 bytes, the last of them NUL
  if (Buffer.byteLength(path) <= bytesMax) return;
  throw new StartError(
    `The path ${path} is too long for a socket (${bytesMax} bytes): set SEALWRIGHT_HOME to a shorter one.`,
  );
}

function openLog(home: Home, name: Part['name']): number {
  const path = join(home.logs, `${name}.log`);
  if ((statSync(path, { throwIfNoEntry: false })?.size ?? 0) > logBytesMax) renameSync(path, `${path}.1`);
  return openSync(path, 'a', 0o600);
}

type Facts = Record<Part['name'], Record<string, unknown>>;

/** Keeps both parts running; a part that ends is started again, the other goes on meanwhile. */
class Supervisor {
  readonly #parts: Map<Part['name'], Part>;
  readonly #running = new Map<Part['name'], RunningPart>();
  ending = false;

  constructor(parts: readonly Part[]) {
    this.#parts = new Map(parts.map((part) => [part.name, part]));
  }

  /** Starts both at once. Rejects with the first reason why one cannot start. */
  async start(): Promise<Facts> {
    const facts = await Promise.all(
      [...this.#parts.keys()].map(async (name) => [name, await this.#launch(name).ready] as const),
    );
    for (const name of this.#parts.keys()) void this.#keep(name);
    return Object.fromEntries(facts) as Facts;
  }

  /** Whatever starts control again uses this configuration. */
  reconfigureControl(change: (before: ControlConfiguration) => ControlConfiguration): void {
    const part = this.#parts.get('control')!;
    this.#parts.set('control', {
      ...part,
      configuration: change(part.configuration as ControlConfiguration),
    });
  }

  tellControl(update: Partial<ControlConfiguration>): void {
    this.#running.get('control')?.tell(update);
  }

  /** Control first, so that nothing new begins, then the runner with its sandboxes. */
  async end(): Promise<void> {
    this.ending = true;
    for (const name of ['control', 'runner'] as const) {
      const running = this.#running.get(name);
      if (running === undefined) continue;
      running.child.kill('SIGTERM');
      await running.exited.catch(() => undefined);
    }
  }

  #launch(name: Part['name']): RunningPart {
    const running = launch(this.#parts.get(name)!);
    this.#running.set(name, running);
    return running;
  }

  async #keep(name: Part['name']): Promise<void> {
    let waitMs: number = restart.firstMs;
    let running = this.#running.get(name)!;
    for (;;) {
      const startedAt = systemClock.monotonic();
      const code = await running.exited.catch(() => null);
      if (this.ending) return;
      if (systemClock.monotonic() - startedAt > restart.stableMs) waitMs = restart.firstMs;
      console.error(`sealwright: the ${name} ended (${code ?? 'by a signal'}); it is started again`);
      await new Promise((resolve) => setTimeout(resolve, waitMs));
      if (this.ending) return;
      waitMs = Math.min(waitMs * 2, restart.mostMs);
      running = this.#launch(name);
    }
  }
}

/** The CLI of the user who started the server just works: a token of its own, made over the machine's own socket. */
async function writeOwnProfile(home: Home, address: string): Promise<void> {
  const path = profilePath(process.env, homedir());
  const known = await readProfile(path, process.platform).catch(() => null);
  if (
    known?.home === home.path &&
    known.token !== undefined &&
    known.url === address &&
    (await accepted(home, known.url, known.token))
  )
    return;
  if (known !== null && known.home !== home.path) {
    console.error(
      `sealwright: ${path} is for another server and is left alone; for this one set SEALWRIGHT_HOME=${home.path}`,
    );
    return;
  }
  const client = ownClient(home, address);
  const name =
    userInfo()
      .username.toLowerCase()
      .replace(/[^a-z0-9._@-]/g, '-')
      .slice(0, 63) || 'local';
  const created = await client.tokens.create({
    name: 'this machine',
    // Whoever owns the machine decides what its sandboxes reach.
    scopes: [...roles.operator, 'policy:write'],
    actor: `user:${name}`,
    reach: 'all',
  });
  await writeProfile(path, { url: address, token: created.token, home: home.path });
}

/** Where the CLI of this machine finds the server: with TLS by a name, because certificates are for names. */
function ownUrl({ tlsCert, publicUrl }: Settings, address: string): string {
  return tlsCert === null ? address : (publicUrl ?? `https://localhost:${new URL(address).port}`);
}

/** Over the machine's own socket, where the caller is the owner of the data folder. */
function ownClient(home: Home, address: string): Client {
  return createClient({ url: address, socketPath: join(home.control, 'local.sock') });
}

/**
 * Both answer for themselves by now; that they have found each other is what ready means to a caller. What a witness says
 * keeps no server from starting (decision 17).
 */
async function untilReady(home: Home, address: string): Promise<void> {
  const client = ownClient(home, address);
  for (const deadline = systemClock.monotonic() + readyWaitMs; ; ) {
    const { ready, checks } = await client.readiness();
    const failing = Object.entries(checks).filter(([name, { ok }]) => !ok && name !== 'witnesses');
    if (ready || failing.every(([name]) => name === 'flags')) return client.close();
    if (systemClock.monotonic() > deadline) {
      throw new StartError(
        `The server started but is not ready: ${failing.map(([name]) => name).join(', ')}.`,
      );
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** Asked on the machine's own socket, where a token that is given counts, and no certificate has to be trusted. */
async function accepted(home: Home, url: string, token: string): Promise<boolean> {
  return await createClient({ url, token, socketPath: join(home.control, 'local.sock') })
    .runs.list({ limit: 1 })
    .then(
      () => true,
      () => false,
    );
}

const firstAdminStep =
  '  ./bin/sealwright users invite --local --role admin   # a link for the first administrator';

function announce(home: Home, facts: Facts, tookMs: number, withBootstrapToken: boolean): void {
  const { heldBy, mode } = facts.runner as { heldBy: Record<string, string>; mode: string };
  const machines = facts.control.machinesAddress;
  const limits = Object.entries(heldBy)
    .map(([limit, means]) => `${limit} by ${means}`)
    .join(', ');
  console.log(
    [
      `Sealwright ${version} is ready at ${facts.control.address} (${(tookMs / 1000).toFixed(1)} s)`,
      ...(typeof machines === 'string' ? [`  machines   with a certificate at ${machines}`] : []),
      `  data       ${home.path}`,
      `  sandboxes  ${mode === 'root' ? 'each session is a user of its own' : 'as this user'}; limits: ${limits}`,
      ...(withBootstrapToken
        ? [
            `  bootstrap  the token is in ${home.bootstrapToken}; it ends with the first administrator or admin token`,
          ]
        : []),
      '',
      'Next, in another terminal:',
      '  ./bin/sealwright run --repo . -- git log --oneline -5',
      ...(facts.control.awaitsAdmin === true ? [firstAdminStep] : []),
      '',
      'Ctrl-C stops it.',
    ].join('\n'),
  );
}

async function leave(view: string, home: Home, status: number, error?: unknown): Promise<never> {
  if (error !== undefined) console.error(`sealwright: ${explain(error, home)}`);
  removeView(view, home);
  process.exit(status);
}

function removeView(view: string, home: Home): void {
  try {
    if (view !== home.path) rmdirSync(view);
  } catch {
    // Another start uses it already.
  }
}

function explain(error: unknown, home: Home): string {
  if (error instanceof StartError || error instanceof HomeError || error instanceof SettingError)
    return error.message;
  const message = error instanceof Error ? error.message : String(error);
  if (message.includes('EADDRINUSE'))
    return `The address is taken by another program: stop that one or choose another with SEALWRIGHT_LISTEN. (${message})`;
  return `${message} More is in ${home.logs}.`;
}

main().catch((error: unknown) => {
  const known = error instanceof StartError || error instanceof HomeError || error instanceof SettingError;
  console.error(
    `sealwright: ${known ? error.message : error instanceof Error ? error.stack : String(error)}`,
  );
  process.exit(1);
});
