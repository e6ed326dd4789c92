import { generateKeyPairSync } from 'node:crypto';
import type { Server } from 'node:net';
import { dirname, join } from 'node:path';
import { type Channel, listenChannel } from '../../src/base/channel.ts';
import { systemClock } from '../../src/base/clock.ts';
import { recordHeader } from '../../src/contract/log-record.ts';
import type {
  ArtifactInfo,
  CheckpointClaim,
  OrderFrame,
  Purpose,
  RunFinished,
  RunnerEvent,
  RunnerOrder,
  RunnerStatus,
  RunSpec,
  StreamPlace,
} from '../../src/contract/runner.ts';
import type { EgressFlow, EgressFlowEnd, EgressPolicy } from '../../src/model/egress.ts';
import { newId, type RunId, type UploadId } from '../../src/model/ids.ts';
import type { HeldBy } from '../../src/model/limits.ts';
import type { Ending } from '../../src/model/run.ts';
import { EgressRelay } from '../../src/runner/egress-relay.ts';
import { RunnerRecord } from '../../src/runner/record.ts';
import { serveRecord } from '../../src/runner/serve-record.ts';
import { FakeTerminals } from './fake-terminals.ts';

export const fakeHeldBy: HeldBy = {
  cpus: 'cgroup-v2',
  memory: 'cgroup-v2',
  pids: 'cgroup-v2',
  disk: 'watcher',
  time: 'timer',
};

export const success: Ending = { phase: 'succeeded', exit: { code: 0, signal: null } };
const signingKey = generateKeyPairSync('ed25519').privateKey;
const cancelled: Ending = { phase: 'cancelled', reason: 'stopped', exit: { code: 143, signal: 'SIGTERM' } };

type FakeRun = {
  readonly spec: RunSpec;
  /** What it may reach, by the last order. */
  egress: EgressPolicy;
  /** By which it proves who it is, by the last order. */
  identity: string;
  phase: 'starting' | 'running';
  runningAt: number | null;
  starts: number;
};

export type FakeRunnerOptions = {
  readonly socketPath: string;
  readonly key: Buffer;
  /** Ends every run by itself as soon as it has started; false leaves that to the test. */
  readonly endsAtOnce?: boolean;
};

/**
 * A runner without sandboxes that speaks the channel protocol. It keeps what a real one keeps (live runs, ends
 * until they are acknowledged, output by offset), can lose answers, die and come back with or without memory. Of its
 * terminals see `FakeTerminals`.
 */
export class FakeRunner {
  readonly #options: FakeRunnerOptions;
  readonly live = new Map<RunId, FakeRun>();
  readonly unacknowledged = new Map<RunId, RunFinished>();
  /** Its own stream of the record, as a real one's, and who puts verdicts there. */
  record!: RunnerRecord;
  relay!: EgressRelay;
  /** What control last said of its own stream. */
  checkpoint: CheckpointClaim | null = null;
  /** What a hostile runner does on a connection for its record, in place of handing it over. */
  handOver: ((channel: Channel) => Promise<void>) | null = null;
  /** Whether it says that it can record. */
  recordOk = true;
  readonly terminals = new FakeTerminals(() => this.#changed());
  #telling = 0;
  readonly output = new Map<RunId, Buffer>();
  readonly artifacts = new Map<RunId, { info: ArtifactInfo; bytes: Buffer }[]>();
  readonly uploads = new Map<UploadId, Buffer>();
  readonly orders: RunnerOrder[] = [];
  /** How often each run was truly begun. */
  readonly begun = new Map<RunId, number>();
  /** Orders of these kinds are carried out, but their answers never sent; the connection ends instead. */
  readonly loseAnswersTo = new Set<RunnerOrder['order']>();
  /** Orders of these kinds are carried out and never answered. */
  readonly neverAnswer = new Set<RunnerOrder['order']>();
  /** Orders of these kinds end the connection before they are carried out. */
  readonly dropOrders = new Set<RunnerOrder['order']>();
  /** The fault that starts are answered with. */
  refuseStarts: { code: string; detail: string } | null = null;
  /** The fault that uploads end with after their first bytes. */
  refuseUploads: { code: string; detail: string } | null = null;
  /** Uploads are left unread until their connection ends. */
  holdUploads = false;
  heldUploads = 0;
  readonly #channels = new Set<Channel>();
  #ordersChannel: Channel | null = null;
  #server: Server | null = null;
  readonly #watchers = new Set<() => void>();

  constructor(options: FakeRunnerOptions) {
    this.#options = options;
  }

  async listen(): Promise<void> {
    if (this.record === undefined) await this.beginRecord('runner-audit');
    this.#server = await listenChannel({
      path: this.#options.socketPath,
      key: this.#options.key,
      serve: (channel) => this.#serve(channel),
      onError: () => undefined,
    });
  }

  /** Goes on with the stream in a folder beside the socket, or begins one there. */
  async beginRecord(name: string): Promise<void> {
    const [clock, nothing] = [systemClock, () => undefined];
    await this.record?.close();
    const folder = join(dirname(this.#options.socketPath), name);
    const options = { folder, clock, newId: () => newId('event', 0), signingKey };
    this.record = await RunnerRecord.open(options, {});
    this.relay = new EgressRelay({ record: this.record, clock, log: { info: nothing, warn: nothing } });
  }

  /** Whether all it was told is on its record, and control has that. */
  get handedOver(): boolean {
    return this.#telling === 0 && this.record.waiting === 0;
  }

  async close(): Promise<void> {
    await this.stop();
    await this.record?.close();
  }

  /** Ends every connection and stops listening. Keeps its memory: `listen` brings the same runner back. */
  async stop(): Promise<void> {
    const server = this.#server;
    this.#server = null;
    const closed = new Promise<void>((resolve) =>
      server === null ? resolve() : server.close(() => resolve()),
    );
    this.cut();
    await closed;
  }

  /** Forgets everything, as a runner does whose process died with its sandboxes. */
  forgetAll(): void {
    this.live.clear();
    this.unacknowledged.clear();
    this.terminals.all.clear();
  }

  cut(): void {
    for (const channel of this.#channels) channel.close();
  }

  /** Resolves once the condition holds; it is looked at whenever anything happens here. */
  async until(holds: () => boolean): Promise<void> {
    if (holds()) return;
    await new Promise<void>((resolve) => {
      const look = () => {
        if (!holds()) return;
        this.#watchers.delete(look);
        resolve();
      };
      this.#watchers.add(look);
    });
  }

  write(run: RunId, kind: 'stdout' | 'stderr', text: string): void {
    const payload = Buffer.from(text);
    const before = this.output.get(run) ?? Buffer.alloc(0);
    this.output.set(run, Buffer.concat([before, recordHeader(kind, payload.length), payload]));
    this.#changed();
  }

  running(run: RunId): void {
    const hosted = this.live.get(run)!;
    hosted.phase = 'running';
    hosted.runningAt = Date.now();
    this.#emit({ event: 'running', run, at: hosted.runningAt, heldBy: fakeHeldBy });
  }

  finish(run: RunId, ending: Ending = success): void {
    const hosted = this.live.get(run)!;
    this.live.delete(run);
    this.terminals.endOf(run, ending.exit.code);
    const finished: RunFinished = {
      event: 'finished',
      run,
      at: Date.now(),
      runningAt: hosted.runningAt,
      ending,
      heldBy: fakeHeldBy,
      usage: { cpuSeconds: 0.1, peakMemoryBytes: 1024, peakPids: 1, diskBytes: 0, outputBytes: 0 },
      artifacts: (this.artifacts.get(run) ?? []).map(({ info }) => info),
    };
    this.unacknowledged.set(run, finished);
    // As the real one, once its verdicts are on the record.
    if (this.#telling === 0) this.repeat(finished);
    else void this.relay.settled().then(() => this.repeat(finished));
  }

  /** Says an end again, as after a lost acknowledgement. */
  repeat(finished: RunFinished): void {
    this.#emit({ ...finished, recorded: this.#place() });
  }

  #place(): StreamPlace {
    return this.record.place;
  }

  emit(event: RunnerEvent): void {
    this.#emit(event);
  }

  /** Its gateway tells verdicts. */
  tell(flows: readonly EgressFlow[], ends: readonly EgressFlowEnd[] = []): void {
    this.#telling += 1;
    void this.relay.send({ flows, ends }).then(() => {
      this.#telling -= 1;
      this.#changed();
    });
  }

  countOf(order: RunnerOrder['order']): number {
    return this.orders.filter((given) => given.order === order).length;
  }

  #emit(event: RunnerEvent): void {
    this.#ordersChannel?.sendJson(event).catch(() => undefined);
    this.#changed();
  }

  #changed(): void {
    for (const look of [...this.#watchers]) look();
  }

  async #serve(channel: Channel): Promise<void> {
    this.#channels.add(channel);
    try {
      const first = await channel.read();
      if (first === null || first.kind !== 'json') return;
      const purpose = first.value as Purpose;
      if (purpose.purpose === 'orders') await this.#serveOrders(channel);
      else if (purpose.purpose === 'logs') await this.#serveLogs(channel, purpose);
      else if (purpose.purpose === 'artifact') await this.#serveArtifact(channel, purpose);
      else if (purpose.purpose === 'audit') await this.#serveAudit(channel);
      else if (purpose.purpose === 'upload') await this.#serveUpload(channel, purpose);
      else await this.terminals.serve(channel, purpose);
      channel.end();
      await channel.closed;
    } finally {
      this.#channels.delete(channel);
    }
  }

  async #serveOrders(channel: Channel): Promise<void> {
    this.#ordersChannel = channel;
    for (const finished of this.unacknowledged.values())
      await channel.sendJson({ ...finished, recorded: this.#place() });
    for (let frame = await channel.read(); frame !== null; frame = await channel.read()) {
      if (frame.kind !== 'json') return;
      const { id, ...order } = frame.value as OrderFrame;
      if (this.dropOrders.has(order.order)) return channel.close();
      this.orders.push(order);
      const answer = this.#carryOut(order);
      this.#changed();
      if (this.loseAnswersTo.has(order.order)) return channel.close();
      if (this.neverAnswer.has(order.order)) continue;
      await channel.sendJson('fault' in answer ? { id, fault: answer.fault } : { id, ok: answer.ok });
      this.#afterAnswer(order);
    }
  }

  #carryOut(order: RunnerOrder): { ok: unknown } | { fault: { code: string; detail: string } } {
    switch (order.order) {
      case 'start':
        return this.#start(order.spec);
      case 'stop':
        if (this.live.has(order.run)) this.finish(order.run, cancelled);
        return { ok: null };
      case 'acknowledge':
        this.unacknowledged.delete(order.run);
        return { ok: null };
      case 'checkpoint':
        this.checkpoint = order.checkpoint;
        return { ok: null };
      case 'egress': {
        const hosted = this.live.get(order.run);
        if (hosted !== undefined) hosted.egress = order.egress;
        return { ok: null };
      }
      case 'identity': {
        const hosted = this.live.get(order.run);
        if (hosted !== undefined) hosted.identity = order.token;
        return { ok: null };
      }
      case 'remove-session':
        for (const [run, { spec }] of this.live)
          if (spec.session === order.session) this.finish(run, cancelled);
        return { ok: null };
      case 'remove-upload':
        this.uploads.delete(order.upload);
        return { ok: null };
      case 'forget':
        for (const run of order.runs) this.output.delete(run);
        return { ok: null };
      case 'status':
        return { ok: this.#status() };
      default:
        return this.terminals.carryOut(order);
    }
  }

  #start(spec: RunSpec): { ok: unknown } | { fault: { code: string; detail: string } } {
    if (this.refuseStarts !== null) return { fault: this.refuseStarts };
    if (this.live.has(spec.run) || this.unacknowledged.has(spec.run)) return { ok: null };
    const { run, session, owner, terminal, command } = spec;
    if (terminal !== null) this.terminals.open({ ...terminal, run, kind: 'run', by: owner, command });
    this.relay.host({ run, session, owner });
    this.live.set(spec.run, {
      spec,
      egress: spec.egress,
      identity: spec.identity,
      phase: 'starting',
      runningAt: null,
      starts: 1,
    });
    this.begun.set(spec.run, (this.begun.get(spec.run) ?? 0) + 1);
    return { ok: null };
  }

  #afterAnswer(order: RunnerOrder): void {
    if (order.order !== 'start' || this.#options.endsAtOnce !== true) return;
    const { run } = order.spec;
    if (!this.live.has(run)) return;
    this.running(run);
    this.write(run, 'stdout', `${order.spec.command.join(' ')}\n`);
    this.finish(run);
  }

  #status(): RunnerStatus {
    return {
      live: [...this.live].map(([run, { phase, runningAt }]) => ({
        run,
        phase,
        runningAt,
        heldBy: fakeHeldBy,
      })),
      backend: 'fake',
      mode: 'user',
      heldBy: fakeHeldBy,
      sandboxes: this.live.size,
      residentBytes: 1,
      record: { ...this.#place(), waiting: this.record.waiting, ok: this.recordOk },
    };
  }

  async #serveAudit(channel: Channel): Promise<void> {
    if (this.handOver !== null) return await this.handOver(channel);
    const { record } = this;
    const received = (seq: number) => {
      record.received(seq);
      this.#changed();
    };
    const { folder } = record;
    await serveRecord(
      {
        folder,
        received,
        changed: (gone) => record.changed(gone),
        get place() {
          return record.place;
        },
        get checkpoint() {
          return record.checkpoint;
        },
      },
      channel,
    );
  }

  async #serveLogs(channel: Channel, { run, offset, follow }: Purpose & { purpose: 'logs' }): Promise<void> {
    let sent = offset;
    let gone = false;
    void channel.closed.then(() => {
      gone = true;
      this.#changed();
    });
    while (!gone) {
      const output = this.output.get(run) ?? Buffer.alloc(0);
      const ended = !this.live.has(run);
      if (output.length > sent) await channel.sendData(output.subarray(sent));
      sent = Math.max(sent, output.length);
      if (ended || !follow) return;
      await this.until(() => gone || (this.output.get(run)?.length ?? 0) > sent || !this.live.has(run));
    }
  }

  async #serveArtifact(channel: Channel, { run, name }: Purpose & { purpose: 'artifact' }): Promise<void> {
    const found = this.artifacts.get(run)?.find(({ info }) => info.name === name);
    if (found === undefined)
      return await channel.sendJson({ fault: { code: 'resource.absent', detail: 'No such artifact.' } });
    await channel.sendData(found.bytes);
  }

  async #serveUpload(channel: Channel, { upload }: Purpose & { purpose: 'upload' }): Promise<void> {
    if (this.holdUploads) {
      this.heldUploads += 1;
      this.#changed();
      return await channel.closed;
    }
    const chunks: Buffer[] = [];
    for (let frame = await channel.read(); frame !== null; frame = await channel.read()) {
      if (frame.kind === 'json') {
        const bytes = Buffer.concat(chunks);
        this.uploads.set(upload, bytes);
        return await channel.sendJson({ bytes: bytes.length, sha256: '0'.repeat(64) });
      }
      if (this.refuseUploads !== null) return await channel.sendJson({ fault: this.refuseUploads });
      chunks.push(Buffer.from(frame.bytes));
    }
  }
}
