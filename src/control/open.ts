import { join } from 'node:path';
import { Heartbeat } from '../audit/heartbeat.ts';
import type { KeyFile } from '../audit/key-file.ts';
import type { SignedAuditLog } from '../audit/log.ts';
import type { Mirror } from '../audit/mirror.ts';
import type { Sinks } from '../audit/sinks/sinks.ts';
import type { Witnesses } from '../audit/witnesses/pusher.ts';
import type { Clock } from '../base/clock.ts';
import { apiLimits } from '../contract/limits.ts';
import type { Flags } from '../flags/flags.ts';
import type { AccessTokens } from '../identity/access-tokens.ts';
import type { Authority } from '../identity/certificates/authority.ts';
import type { ChangeFeed } from '../identity/change-feed.ts';
import type { ClientAssertions } from '../identity/client-assertions.ts';
import type { Identity } from '../identity/identity.ts';
import type { Principals } from '../identity/principals.ts';
import type { RunIdentity } from '../identity/run-identity.ts';
import type { SignIns } from '../identity/sign-ins.ts';
import type { SigningKeys } from '../identity/signing-keys.ts';
import type { Tokens } from '../identity/tokens.ts';
import type { Actor } from '../model/actor.ts';
import { presetRulesWith } from '../model/egress-presets.ts';
import type { UploadId } from '../model/ids.ts';
import type { RunLimits } from '../model/limits.ts';
import { RunSecrets } from '../redaction/run-secrets.ts';
import type { SecretValues } from '../redaction/secret-values.ts';
import type { Store } from '../store/store.ts';
import { openAttach } from './attach/use-cases.ts';
import { auditEvidenceUseCases } from './audit/evidence.ts';
import { auditProofUseCases, type KnownStream } from './audit/proofs.ts';
import { AuditRetention, type AuditRetentionConfig } from './audit/retention.ts';
import type { AuditSearch } from './audit/search-types.ts';
import { auditUseCases } from './audit/use-cases.ts';
import { auditSinkUseCases } from './audit-sinks.ts';
import { auditWitnessUseCases, startWitnessing } from './audit-witnesses.ts';
import { CheckpointExchange } from './checkpoint-exchange.ts';
import type { Caller, Control, Presented } from './control.ts';
import { Dispatcher } from './dispatcher.ts';
import { EgressOrders } from './egress-orders.ts';
import { EgressPolicies } from './egress-policies.ts';
import { EgressSimulations } from './egress-simulations.ts';
import { FlowTable } from './flow-table.ts';
import { type Gate, openGate } from './gate.ts';
import type { AccessSet } from './identity/access-set.ts';
import { answerAuthorization } from './identity/authorization.ts';
import { answerDevice, findDevice } from './identity/devices.ts';
import { flagUseCases } from './identity/flags.ts';
import { keyUseCases } from './identity/keys.ts';
import { machineUseCases } from './identity/machines.ts';
import { oauthUseCases } from './identity/oauth.ts';
import { ownTokenUseCases, rotateToken } from './identity/own-tokens.ts';
import { type PeopleOptions, peopleUseCases } from './identity/people.ts';
import { rightsUseCases } from './identity/rights.ts';
import { whoami } from './identity/whoami.ts';
import { LiveRuns } from './live-runs.ts';
import type { Logger } from './logger.ts';
import { openMetrics } from './metrics.ts';
import { policyUseCases } from './policies.ts';
import { Readings } from './readiness.ts';
import { RecordIntake } from './record-intake.ts';
import { RunIdentities } from './run-identities.ts';
import { RunnerLink } from './runner-link.ts';
import { runUseCases } from './runs.ts';
import { Scheduler, type SchedulerConfig } from './scheduler.ts';
import { SessionCloser } from './session-closer.ts';
import { sessionUseCases } from './sessions.ts';
import { StateWriter } from './state-writer.ts';
import { Sweeper, type SweeperConfig } from './sweeper.ts';
import { tokenUseCases } from './tokens.ts';
import { uploadUseCases } from './uploads.ts';

export type ControlConfig = SchedulerConfig &
  SweeperConfig & {
    /** Waiting and running ones together, for one owner. */
    readonly liveRunsPerOwnerMax: number;
    readonly sessionsPerOwnerMax: number;
    readonly uploadBytesMax: number;
    /** What a run may use where its request does not say. */
    readonly defaultLimits: RunLimits;
    /** Whether every run is strict, asked for or not. */
    readonly strictRuns: boolean;
    /** Networks that the preset github is for too, canonical. */
    readonly githubNetworks: readonly string[];
    /** Whether a second person has to approve that somebody gets another role for a time. */
    readonly elevationApproval: boolean;
    /** Null to keep every event for ever. */
    readonly auditRetention: AuditRetentionConfig | null;
  };

export type ControlOptions = PeopleOptions & {
  readonly store: Store;
  readonly audit: SignedAuditLog;
  /** Where `audit` and its like write their streams. */
  readonly auditFolder: string;
  /** Of the key that signs `audit`. */
  readonly auditKey: Pick<KeyFile, 'rotate'>;
  /** Where events go besides. */
  readonly sinks: Sinks;
  /** Where checkpoints are kept besides. */
  readonly witnesses: Witnesses;
  /** Finds what `audit` and its like have written. */
  readonly search: AuditSearch;
  readonly tokens: Tokens;
  readonly identity: Identity;
  readonly signIns: SignIns;
  readonly signingKeys: SigningKeys;
  readonly accessTokens: AccessTokens;
  readonly assertions: ClientAssertions;
  readonly access: AccessSet;
  readonly changes: ChangeFeed;
  readonly principals: Principals;
  readonly flags: Flags;
  readonly authority: Authority;
  readonly runIdentity: RunIdentity;
  /** What `audit` and the log must not say: runs add what they are given, while they live. */
  readonly secretValues: SecretValues;
  readonly runner: { readonly socketPath: string; readonly key: Buffer };
  readonly clock: Clock;
  readonly config: ControlConfig;
  readonly logger: Logger;
};

/**
 * Wires the use cases and takes up the work that an earlier process left. Resolves before the runner is
 * connected: until then runs wait. `close` leaves runs running and closes nothing that it was given.
 */
export async function openControl(options: ControlOptions): Promise<Control> {
  const parts = assemble(options);
  const { dispatcher, link, sweeper, metrics, gate, readings } = parts;
  const { identity, config } = options;
  const machine = { ...options, gate, store: options.store.identity, signInConfig: options.signIn };
  const tokenParts = { ...parts, tokens: options.tokens };
  await dispatcher.recover();
  link.open();
  parts.intake.start();
  parts.exchange.start();
  parts.retention?.start();
  startWitnessing({ ...parts, ...options });
  sweeper.start();
  parts.identities.start();
  return {
    sessions: sessionUseCases({ ...parts, sessionsPerOwnerMax: config.sessionsPerOwnerMax }),
    attach: parts.attach.useCases,
    runs: runUseCases({
      ...parts,
      livePerOwnerMax: config.liveRunsPerOwnerMax,
      defaultLimits: config.defaultLimits,
      strictRuns: config.strictRuns,
    }),
    uploads: uploadUseCases({
      ...parts,
      uploadBytesMax: Math.min(config.uploadBytesMax, apiLimits.uploadBytesMax),
    }),
    tokens: {
      ...tokenUseCases(tokenParts),
      rotate: (caller, id, request) => rotateToken(tokenParts, caller, id, request),
    },
    ownTokens: ownTokenUseCases(tokenParts),
    oauth: oauthUseCases(machine),
    devices: {
      find: (caller, userCode) => findDevice(machine, caller, userCode),
      answer: (caller, request) => answerDevice(machine, caller, request),
    },
    programs: { answer: (caller, answered) => answerAuthorization(machine, caller, answered) },
    keys: keyUseCases(machine),
    whoami: (caller) => whoami(machine, caller),
    policies: policyUseCases(parts),
    flags: flagUseCases({ ...parts, ...options, flagStore: options.store.identity.flags }),
    ...peopleUseCases(options, parts.gate),
    ...rightsUseCases({ ...options, gate, elevationApproval: config.elevationApproval }),
    ...machineUseCases({ ...parts, ...options }),
    auditSinks: auditSinkUseCases({ gate, sinks: options.sinks }),
    auditWitnesses: auditWitnessUseCases({ ...parts, ...options }),
    audit: auditUseCases({ gate, search: options.search }),
    auditProofs: auditProofUseCases({ ...parts, audit: options.audit, keyFile: options.auditKey }),
    auditEvidence: auditEvidenceUseCases({ ...parts, audit: options.audit, search: options.search }),
    authenticate: (presented, request) => authenticate({ identity, gate }, presented, request),
    ...identityPart(options),
    readiness: () => readings.readiness(),
    metrics: async (caller) => {
      await gate.read(caller, {
        action: 'metrics.read',
        resource: { kind: 'cluster' },
      });
      return await metrics.text();
    },
    close: () => closeParts(parts),
  };
}

/** Who callers are by now, for what goes on after they were let in. */
function identityPart({ identity, access }: ControlOptions): Pick<Control, 'renew' | 'onIdentityChange'> {
  return {
    renew: async ({ actor, request }) => {
      const now = await identity.renew(actor);
      return now === null ? null : { actor: now, request };
    },
    onIdentityChange: (listener) => {
      const forgetters = [identity.onChange(listener), access.onReplaced(listener)];
      return () => forgetters.forEach((forget) => void forget());
    },
  };
}

async function closeParts(parts: ReturnType<typeof assemble>): Promise<void> {
  const { sweeper, closer, link, dispatcher, egressOrders, intake } = parts;
  parts.attach.close();
  // At once: a sweep may wait for an answer of the runner, and a closing session for the end of a run.
  await Promise.all([sweeper.close(), closer.close(), link.close(), parts.witnesses.stop()]);
  await Promise.all([dispatcher.close(), egressOrders.close(), intake.close()]);
  await parts.identities.close();
  parts.exchange.close();
  await parts.retention?.close();
  await parts.gate.close();
  await parts.heartbeat.close();
}

/** Control's own stream, and those that it took over. */
function knownStreamsOf({ audit, auditFolder }: ControlOptions, intake: RecordIntake) {
  const own: KnownStream = {
    stream: audit.stream,
    folder: join(auditFolder, audit.stream),
    tree: audit.tree,
    head: () => audit.head(),
    checkpoint: () => audit.checkpoint(),
    key: () => audit.key(),
  };
  return () => [own, ...intake.mirrors().map(mirrored)];
}

function mirrored(mirror: Mirror): KnownStream {
  return {
    stream: mirror.stream,
    folder: mirror.folder,
    tree: mirror.tree,
    head: () => mirror.head,
    checkpoint: () => mirror.checkpoint,
    key: () => mirror.key,
  };
}

/** The runner's own stream on its way here, and what each stream says of the other. */
function recordParts(
  options: ControlOptions,
  { link, live, gate }: { link: RunnerLink; live: LiveRuns; gate: Gate },
) {
  const { store, audit, auditFolder, logger, sinks, clock, search } = options;
  const flows = new FlowTable({ store, live, logger });
  const intake = new RecordIntake({ folder: auditFolder, link, flows, gate, logger });
  const knownStreams = knownStreamsOf(options, intake);
  const { auditRetention: config } = options.config;
  return {
    intake,
    knownStreams,
    retention:
      config === null
        ? null
        : new AuditRetention({ config, audit, knownStreams, sinks, gate, search, clock, logger }),
    exchange: new CheckpointExchange({ audit, stream: audit.stream, link }),
    heartbeat: new Heartbeat({ log: audit, stream: audit.stream, others: () => intake.claims() }),
  };
}

function runSecrets({ secretValues, logger }: ControlOptions): RunSecrets {
  const tooMany = 'not every secret of a run can be looked for in what is written: there are too many';
  return new RunSecrets(secretValues, (run) => logger.warn({ run }, tooMany));
}

function assemble(options: ControlOptions) {
  const { store, audit, access, flags, runIdentity, runner, clock, config, logger, witnesses } = options;
  const gate = openGate({ audit, access: access.engine, clock, logger });
  const live = new LiveRuns();
  const secrets = runSecrets(options);
  const presets = presetRulesWith({ github: config.githubNetworks });
  const egressPolicies = new EgressPolicies(store.policies, presets);
  const arriving = new Set<UploadId>();
  const writer = new StateWriter(store.runs);
  const scheduler: Scheduler = new Scheduler(config, (run) => dispatcher.startQueued(run));
  const link: RunnerLink = new RunnerLink({
    ...runner,
    logger,
    onEvent: (event) => dispatcher.onEvent(event),
    onConnected: () => dispatcher.reconcile(),
    onReady: () => {
      scheduler.setOpen(true);
      record.exchange.tell();
      void sweeper.sweep();
    },
    onDisconnected: () => dispatcher.onDisconnected(),
  });
  const record = recordParts(options, { link, live, gate });
  const { intake } = record;
  const egressOrders = new EgressOrders({ egressPolicies, live, link, logger });
  const identities = new RunIdentities({ identity: runIdentity, secrets, live, link, clock, logger });
  const simulations = new EgressSimulations({ store, egressPolicies, gate, live, clock });
  const dispatcher: Dispatcher = new Dispatcher({
    store,
    egressPolicies,
    live,
    scheduler,
    link,
    egressOrders,
    intake,
    identities,
    secrets,
    writer,
    gate,
    clock,
    logger,
  });
  const closer = new SessionCloser({ store, link, live, clock, logger });
  const sweeper: Sweeper = new Sweeper({ store, link, closer, gate, clock, logger, arriving }, config);
  const readings = new Readings({ store, audit, access, gate, link, intake, flags, clock, witnesses });
  const attach = openAttach({ store, gate, live, link, clock, logger, secrets, ...identityPart(options) });
  const metrics = openMetrics({ ...options, gate, link, scheduler, readings, attach });
  return {
    store,
    clock,
    gate,
    live,
    scheduler,
    link,
    dispatcher,
    egressPolicies,
    egressOrders,
    ...record,
    identities,
    secrets,
    simulations,
    closer,
    sweeper,
    readings,
    metrics,
    attach,
    witnesses,
    arriving,
  };
}

/** Failures are on record, counted by where they come from, and hold nothing of what was presented. */
async function authenticate(
  { identity, gate }: { identity: Identity; gate: Gate },
  presented: Presented,
  request: Caller['request'],
): Promise<Actor | null> {
  const actor = await actorOf(identity, presented);
  if (actor === null)
    gate.note({
      action: 'token.verify',
      actor: { id: 'system:nobody' },
      resource: { kind: 'token' },
      outcome: 'denied',
      rule: 'token:refused',
      request,
      countAs: `token.verify ${request.address ?? 'local'}`,
    });
  return actor;
}

function actorOf(identity: Identity, presented: Presented): Promise<Actor | null> {
  if ('bearer' in presented) return identity.ofBearer(presented.bearer);
  if ('cookie' in presented) return identity.ofCookie(presented.cookie);
  return identity.ofCertificate(presented.certificate);
}
