import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { anyNetwork, type ClientNetworks } from '../../src/access/client-networks.ts';
import { type AccessEngine, openAccessEngine } from '../../src/access/engine.ts';
import type { AuditEvent } from '../../src/audit/event.ts';
import { openAuditLog, type SignedAuditLog } from '../../src/audit/log.ts';
import { openSinks, type Sinks, type SinksOptions } from '../../src/audit/sinks/sinks.ts';
import { StreamReader } from '../../src/audit/stream-reader.ts';
import { Witnesses, type WitnessesOptions } from '../../src/audit/witnesses/pusher.ts';
import { type Clock, systemClock } from '../../src/base/clock.ts';
import { Fault } from '../../src/contract/faults.ts';
import type { CreateRun, CreateSession, RunView } from '../../src/contract/schemas.ts';
import type { AuditSearch } from '../../src/control/audit/search-types.ts';
import type { Caller, Control } from '../../src/control/control.ts';
import { type AccessSet, openAccessSet } from '../../src/control/identity/access-set.ts';
import type { SignInConfig } from '../../src/control/identity/sign-in-parts.ts';
import type { Logger } from '../../src/control/logger.ts';
import { type ControlConfig, openControl } from '../../src/control/open.ts';
import { type Flags, openFlags } from '../../src/flags/flags.ts';
import { type IdentityDirectory, openIdentityDirectory } from '../../src/identity/open.ts';
import { openSealing } from '../../src/identity/sealing.ts';
import type { Actor } from '../../src/model/actor.ts';
import { newId, type RunId, type SessionId } from '../../src/model/ids.ts';
import { defaultRunLimits } from '../../src/model/limits.ts';
import { roles, type Scope } from '../../src/model/scopes.ts';
import { openRedactor } from '../../src/redaction/redactor.ts';
import { SecretValues } from '../../src/redaction/secret-values.ts';
import { openSqliteStore } from '../../src/store/sqlite/open.ts';
import type { Store } from '../../src/store/store.ts';
import { testSigningKeys } from './audit.ts';
import { lazySearch } from './audit-search.ts';
import { FakeRunner } from './fake-runner.ts';

export const testConfig: ControlConfig = {
  maxRuns: 4,
  maxRunsPerSession: 1,
  liveRunsPerOwnerMax: 100,
  sessionsPerOwnerMax: 100,
  runFilesTtlMs: 24 * 3600 * 1000,
  uploadTtlMs: 3600 * 1000,
  sweepEveryMs: 60_000,
  uploadBytesMax: 64 * 1024 * 1024,
  defaultLimits: defaultRunLimits,
  strictRuns: false,
  githubNetworks: [],
  elevationApproval: false,
  auditRetention: null,
};

export const testSealing = openSealing(Buffer.alloc(32, 7));

/** Of sign-ins; short enough to tell idle from over. */
export const testLives = {
  browserIdleMs: 30 * 60_000,
  browserMs: 12 * 3_600_000,
  programIdleMs: 24 * 3_600_000,
  programMs: 30 * 24 * 3_600_000,
};

export const testSignIn: SignInConfig = {
  publicUrl: 'http://localhost:7717',
  localSignIn: true,
  passwordWords: [],
  mfaRoles: ['admin', 'operator'],
  mayComeFrom: () => true,
};

const silent: Logger = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
};

/** What a server of the tests is called from outside, wherever it listens. */
export const testOrigin = 'http://localhost:7717';

export const bootstrapSecret = 'a-bootstrap-secret-of-the-tests';

export function actorOf(
  name: string,
  reach: 'own' | 'all' = 'own',
  scopes: readonly Scope[] = roles.developer,
): Actor {
  return { id: `user:${name}`, scopes: new Set(scopes), reach };
}

export function callerOf(actor: Actor): Caller {
  return { actor, request: { id: newId('request', Date.now()), address: '127.0.0.1', userAgent: null } };
}

export const withCode = (code: string) => (error: unknown) => {
  if (error instanceof Fault && error.code === code) return true;
  throw error;
};

export function deadline(ms = 5_000): AbortSignal {
  return AbortSignal.timeout(ms);
}

/** A control process against a fake runner in a folder of its own; either side can be restarted. */
export class TestControl {
  readonly folder: string;
  readonly runner: FakeRunner;
  readonly clock: Clock;
  readonly config: ControlConfig;
  readonly signIn: SignInConfig;
  readonly #key: Buffer;
  readonly #storeFile: string;
  readonly #networks: ClientNetworks;
  readonly #publicUrl: string;
  readonly #sinkOptions: Partial<SinksOptions>;
  readonly #witnessOptions: Partial<WitnessesOptions>;
  /** Stands in front of the audit log; a test makes it fail by setting `auditFails`. */
  auditFails = false;
  access!: AccessEngine;
  accessSet!: AccessSet;
  control!: Control;
  store!: Store;
  directory!: IdentityDirectory;
  secretValues!: SecretValues;
  audit!: SignedAuditLog;
  sinks!: Sinks;
  witnesses!: Witnesses;
  search!: AuditSearch;
  flags!: Flags;

  private constructor(folder: string, options: TestControlOptions) {
    this.folder = folder;
    this.#key = randomBytes(32);
    this.#sinkOptions = options.sinks ?? {};
    this.#witnessOptions = options.witnesses ?? {};
    this.#publicUrl = options.publicUrl ?? testOrigin;
    this.#networks = options.networks ?? anyNetwork;
    this.#storeFile = options.storeFile ?? join(folder, 'store.db');
    this.clock = options.clock ?? systemClock;
    this.config = { ...testConfig, ...options.config };
    this.signIn = { ...testSignIn, ...options.signIn };
    this.runner = new FakeRunner({
      socketPath: join(folder, 'runner.sock'),
      key: this.#key,
      endsAtOnce: options.endsAtOnce ?? false,
    });
  }

  static async open(options: TestControlOptions = {}): Promise<TestControl> {
    const test = new TestControl(await mkdtemp(join(tmpdir(), 'sealwright-control-')), options);
    if (options.withRunner !== false) await test.runner.listen();
    await test.start();
    if (options.withRunner !== false) await test.connected();
    return test;
  }

  async start(): Promise<void> {
    const { clock } = this;
    this.secretValues = new SecretValues();
    const log = await openAuditLog({
      folder: join(this.folder, 'audit'),
      stream: 'control',
      clock,
      newId: () => newId('event', clock.now()),
      redactor: openRedactor(this.secretValues),
      signingKeys: testSigningKeys,
    });
    this.audit = failing(log, () => this.auditFails);
    this.search = this.#searchOf(log);
    this.store = await openSqliteStore({ file: this.#storeFile });
    this.directory = await openIdentityDirectory({
      store: this.store,
      clock,
      sealing: testSealing,
      publicUrl: this.#publicUrl,
      bootstrap: { secret: bootstrapSecret },
      lives: testLives,
      trustDomain: 'sealwright.test',
      onError: () => undefined,
    });
    this.access = openAccessEngine({ networks: this.#networks });
    this.accessSet = await openAccessSet({
      engine: this.access,
      store: this.store.identity.accessPolicies,
      changes: this.directory.changes,
      logger: silent,
    });
    this.flags = await this.#openFlags();
    this.sinks = await openSinks({
      settings: [],
      folder: join(this.folder, 'audit'),
      stateFolder: join(this.folder, 'sinks'),
      heads: {
        headOf: (stream) => (stream === 'control' ? this.audit.head().seq : null),
        onAdvance: (listener) => this.audit.onAppended(listener),
      },
      hostname: 'host.example',
      version: '0.0.0-test',
      clock,
      random: () => 0.5,
      onProblem: () => undefined,
      ...this.#sinkOptions,
    });
    const witnessing = { settings: [], version: '0.0.0-test', clock, random: () => 0.5 };
    this.witnesses = await Witnesses.open({ ...witnessing, ...this.#witnessOptions });
    this.control = await openControl({
      store: this.store,
      audit: this.audit,
      auditFolder: join(this.folder, 'audit'),
      search: this.search,
      auditKey: { rotate: (log) => log.rotateKey(generateKeyPairSync('ed25519').privateKey) },
      sinks: this.sinks,
      witnesses: this.witnesses,
      ...this.directory,
      sealing: testSealing,
      signIn: this.signIn,
      access: this.accessSet,
      providers: new Map(),
      flags: this.flags,
      secretValues: this.secretValues,
      runner: { socketPath: join(this.folder, 'runner.sock'), key: this.#key },
      clock,
      config: this.config,
      logger: silent,
    });
  }

  async #openFlags(): Promise<Flags> {
    const place = { folder: this.folder };
    return await openFlags({ store: this.store.identity.flags, place, onProblems: () => undefined });
  }

  #searchOf(log: SignedAuditLog): AuditSearch {
    const { folder } = this;
    const file = join(folder, 'audit-index.sqlite');
    return lazySearch({ folder: join(folder, 'audit'), file, log, logger: silent });
  }

  /** Control has reconciled with the runner and takes new runs. */
  async connected(): Promise<void> {
    while (!(await this.control.readiness()).checks.runner.ok)
      await new Promise((resolve) => setTimeout(resolve, 5));
  }

  async session(caller: Caller, request: CreateSession = {}): Promise<SessionId> {
    const made = await this.control.sessions.create(caller, { request, idempotencyKey: null });
    return made.view.id as SessionId;
  }

  async run(caller: Caller, session: SessionId, request: Partial<CreateRun> = {}): Promise<RunView> {
    const asked = { command: ['true'], ...request, session };
    return (await this.control.runs.create(caller, { request: asked, idempotencyKey: null })).view;
  }

  async finished(caller: Caller, run: RunId): Promise<RunView> {
    return await this.control.runs.finished(caller, run, deadline());
  }

  /** The lines of the audit log, parsed. */
  async events(): Promise<AuditEvent[]> {
    return await this.#eventsOf('control');
  }

  /** The lines of the runner's stream, as control has them. */
  async runnerEvents(): Promise<AuditEvent[]> {
    return await this.#eventsOf(this.runner.record.stream);
  }

  async #eventsOf(stream: string): Promise<AuditEvent[]> {
    const reader = new StreamReader(join(this.folder, 'audit', stream), 0);
    const events: AuditEvent[] = [];
    for (let lines = await reader.read(1_000); lines.length > 0; lines = await reader.read(1_000))
      events.push(...lines.map(({ bytes }) => JSON.parse(bytes.toString('utf8'))));
    await reader.close();
    return events;
  }

  async stop(): Promise<void> {
    await this.control.close();
    await this.sinks.close();
    await this.witnesses.close();
    this.accessSet.close();
    await this.flags.close();
    await this.directory.close();
    await this.search.close();
    await this.audit.close();
    await this.store.close();
  }

  async restart(): Promise<void> {
    await this.stop();
    await this.start();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    await this.runner.close();
    await rm(this.folder, { recursive: true, force: true });
  }
}

export type TestControlOptions = {
  readonly config?: Partial<ControlConfig>;
  readonly signIn?: Partial<SignInConfig>;
  readonly clock?: Clock;
  readonly sinks?: Partial<SinksOptions>;
  readonly witnesses?: Partial<WitnessesOptions>;
  readonly endsAtOnce?: boolean;
  readonly withRunner?: boolean;
  /** A store that several share; one in the folder where absent. */
  readonly storeFile?: string;
  /** `testOrigin` where absent. */
  readonly publicUrl?: string;
  /** Any where absent. */
  readonly networks?: ClientNetworks;
};

function failing(log: SignedAuditLog, fails: () => boolean): SignedAuditLog {
  return {
    ...signedPart(log),
    append: async (event) => {
      if (fails()) throw new Fault('audit.unavailable', { detail: 'made to fail' });
      return await log.append(event);
    },
    health: () => (fails() ? { ok: false, since: 0, reason: 'made to fail' } : log.health()),
    probe: async () => (fails() ? { ok: false, since: 0, reason: 'made to fail' } : await log.probe()),
    close: () => log.close(),
  };
}

function signedPart(log: SignedAuditLog) {
  return {
    stream: log.stream,
    tree: log.tree,
    head: () => log.head(),
    onAppended: (listener: () => void) => log.onAppended(listener),
    checkpoint: () => log.checkpoint(),
    onCheckpoint: (listener: Parameters<SignedAuditLog['onCheckpoint']>[0]) => log.onCheckpoint(listener),
    sign: () => log.sign(),
    key: () => log.key(),
    signer: () => log.signer(),
    rotateKey: (next: Parameters<SignedAuditLog['rotateKey']>[0]) => log.rotateKey(next),
  };
}
