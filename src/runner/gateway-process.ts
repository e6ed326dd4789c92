import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync } from 'node:fs';
import { Socket } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import type { Authority } from '../base/certificates.ts';
import { Channel } from '../base/channel.ts';
import { sendDescriptors, socketPair } from '../base/sockets.ts';
import { Fault } from '../contract/faults.ts';
import { type GatewayOrder, type GatewayWord, parseGatewayWord } from '../contract/gateway.ts';
import type { EgressPolicy } from '../model/egress.ts';
import type { RunId } from '../model/ids.ts';
import type { Door, Gateway, Listener } from '../sandbox/gateway.ts';
import type { EgressRelay } from './egress-relay.ts';
import { runnerLimits } from './limits.ts';
import type { RunnerLog } from './runner.ts';

export type GatewayOptions = {
  /** The program and its words; descriptor 3 is its channel, 4 brings descriptors, its log goes to standard output. */
  readonly words: readonly string[];
  /** One line for its standard input. */
  readonly configuration: unknown;
  readonly relay: EgressRelay;
  readonly log: RunnerLog;
};

type Admission = { readonly run: RunId; readonly policy: EgressPolicy };
/** What is needed to tell a gateway that was started anew. */
type OpenDoor = {
  readonly authority: Authority;
  readonly listeners: Listener[];
  admission: Admission | null;
  era: number;
};

// An omission over each variant, where Omit would see their common members alone.
type Numbered<T> = T extends { id: number } ? Omit<T, 'id'> : never;

/**
 * The gateway as a process of its own: it parses hostile bytes, so its end must be nobody else's. When it ends it
 * is started again and is given every open sandbox's listeners again, which are kept here; meanwhile connections
 * wait, and nothing gets out. One for each host (decision 9).
 */
export class GatewayProcess implements Gateway {
  readonly #options: GatewayOptions;
  readonly #doors = new Map<number, OpenDoor>();
  #nextDoor = 1;
  #life: GatewayLife | null = null;
  /** The last that was begun, whatever became of it. */
  #newest: GatewayLife | null = null;
  /** The one that is being told what is open. */
  #reopening: GatewayLife | null = null;
  readonly #waiting = new Set<(life: GatewayLife) => void>();
  readonly #closing = new AbortController();
  #keeping: Promise<void> = Promise.resolve();

  private constructor(options: GatewayOptions) {
    this.#options = options;
  }

  /** Resolves when it is ready; rejects when it ends before that. */
  static async start(options: GatewayOptions): Promise<GatewayProcess> {
    const gateway = new GatewayProcess(options);
    gateway.#life = await gateway.#begin();
    gateway.#keeping = gateway.#keep();
    return gateway;
  }

  get pid(): number | null {
    return this.#life?.pid ?? null;
  }

  open(listeners: readonly Listener[], authority: Authority): Door {
    const door = this.#nextDoor++;
    const state: OpenDoor = { authority, listeners: [...listeners], admission: null, era: 0 };
    this.#doors.set(door, state);
    const opened = this.#life?.open(door, state).catch(() => undefined);
    return {
      admit: async (run, policy, more) => {
        await opened;
        const life = await this.#living();
        state.listeners.push(...more);
        state.admission = { run, policy };
        await life.admit(door, state, more);
      },
      close: async () => {
        await opened;
        this.#doors.delete(door);
        // One that is being told what is open may let flows of it through already, and has their ends to tell.
        const life = this.#life ?? this.#reopening;
        await life?.order({ order: 'close', door }).catch(() => undefined);
      },
    };
  }

  async close(): Promise<void> {
    this.#closing.abort();
    await this.#newest?.end();
    await this.#keeping;
  }

  async #begin(): Promise<GatewayLife> {
    const life = new GatewayLife(this.#options);
    this.#newest = life;
    await life.ready;
    return life;
  }

  /** The gateway that is there, or the next one; rejects when that does not come soon. */
  #living(): Promise<GatewayLife> {
    if (this.#life !== null) return Promise.resolve(this.#life);
    return new Promise((resolve, reject) => {
      const settle = (act: () => void) => {
        clearTimeout(timer);
        this.#waiting.delete(resume);
        act();
      };
      const resume = (life: GatewayLife) => settle(() => resolve(life));
      const timer = setTimeout(() => settle(() => reject(gone())), runnerLimits.gatewayWaitMs);
      this.#waiting.add(resume);
    });
  }

  /** Begins a gateway and tells it what is open; one that cannot be told is ended. */
  async #restart(): Promise<void> {
    const life = await this.#begin();
    this.#reopening = life;
    try {
      await this.#reopen(life);
    } catch (error) {
      await life.end();
      throw error;
    } finally {
      this.#reopening = null;
    }
    for (const resume of this.#waiting) resume(life);
  }

  /** A map is walked in its order, with what is put there meanwhile and without what is taken away. */
  async #reopen(life: GatewayLife): Promise<void> {
    for (const [door, state] of this.#doors) {
      state.era += 1;
      await life.open(door, state);
      if (state.admission !== null && this.#doors.has(door)) await life.admit(door, state, []);
    }
    this.#life = life;
  }

  async #keep(): Promise<void> {
    const { signal } = this.#closing;
    for (let waitMs: number = runnerLimits.gatewayRestartMs; !signal.aborted; ) {
      if (this.#life !== null) await this.#life.gone;
      this.#life = null;
      if (signal.aborted) return;
      this.#options.log.warn({}, 'the gateway ended and is started again');
      await pause(waitMs, undefined, { signal }).catch(() => undefined);
      if (signal.aborted) return;
      try {
        await this.#restart();
        waitMs = runnerLimits.gatewayRestartMs;
      } catch (error) {
        this.#options.log.warn({ error: String(error) }, 'the gateway could not be started');
        waitMs = Math.min(waitMs * 2, runnerLimits.gatewayRestartMostMs);
      }
    }
  }
}

/** One gateway process from its start to its end. */
class GatewayLife {
  readonly ready: Promise<void>;
  /** Settles when the process is gone; never rejects. */
  readonly gone: Promise<void>;
  readonly pid: number;
  readonly #channel: Channel;
  readonly #passing: number;
  readonly #kill: () => void;
  readonly #relay: EgressRelay;
  readonly #waiting = new Map<number, { resolve: () => void; reject: (error: Error) => void }>();
  #sending: Promise<void> = Promise.resolve();
  #next = 1;
  #ended = false;

  constructor({ words, configuration, relay }: GatewayOptions) {
    const [program, ...rest] = words as [string, ...string[]];
    const [channel, channelThere] = socketPair('stream');
    const [passing, passingThere] = socketPair('packets');
    const child = spawn(program, rest, {
      cwd: '/',
      env: { PATH: '/usr/bin:/bin', LANG: 'C.UTF-8' },
      stdio: ['pipe', 'inherit', 'inherit', channelThere, passingThere],
      shell: false,
    });
    closeSync(channelThere);
    closeSync(passingThere);
    this.pid = child.pid ?? 0;
    this.#channel = new Channel(new Socket({ fd: channel, readable: true, writable: true }));
    this.#passing = passing;
    this.#relay = relay;
    this.#kill = () => void child.kill('SIGKILL');
    child.stdin!.on('error', () => undefined);
    child.stdin!.end(`${JSON.stringify(configuration)}\n`);
    const started = Promise.withResolvers<void>();
    this.ready = started.promise;
    this.ready.catch(() => undefined);
    const ended = once(child, 'exit').then(
      () => undefined,
      () => undefined,
    );
    this.gone = this.#read(started.resolve)
      .catch(() => undefined)
      .then(async () => {
        this.#kill();
        await ended;
        this.#fail();
        started.reject(new Error('The gateway ended before it was ready; the log says why.'));
      });
  }

  async open(door: number, { listeners, era, authority }: OpenDoor): Promise<void> {
    await this.#pass({ order: 'open', door, era, authority, listeners: passed(listeners) }, listeners);
  }

  async admit(door: number, { admission }: OpenDoor, listeners: readonly Listener[]): Promise<void> {
    if (admission === null) return;
    const known = this.#relay.known(admission.run);
    const order = { order: 'admit', door, ...admission, listeners: passed(listeners), ...known } as const;
    await this.#pass(order, listeners);
  }

  /** Resolves when it is carried out. */
  async order(order: Numbered<GatewayOrder>): Promise<void> {
    if (this.#ended) throw gone();
    const id = this.#next++;
    const done = new Promise<void>((resolve, reject) => this.#waiting.set(id, { resolve, reject }));
    done.catch(() => undefined);
    await this.#channel.sendJson({ id, ...order });
    await done;
  }

  async end(): Promise<void> {
    this.#channel.end();
    const late = pause(runnerLimits.gatewayEndMs, undefined, { ref: false }).then(() => this.#kill());
    await Promise.race([this.gone, late]);
    await this.gone;
  }

  /** One after the other, so that descriptors on their way are few: the kernel bounds them. */
  #pass(order: Numbered<GatewayOrder>, listeners: readonly Listener[]): Promise<void> {
    if (listeners.length === 0) return this.order(order);
    const passing = this.#sending.then(async () => {
      if (this.#ended) throw gone();
      sendDescriptors(
        this.#passing,
        listeners.map(({ fd }) => fd),
      );
      await this.order(order);
    });
    this.#sending = passing.catch(() => undefined);
    return passing;
  }

  async #read(onReady: () => void): Promise<void> {
    for (let frame = await this.#channel.read(); frame?.kind === 'json'; frame = await this.#channel.read())
      this.#hear(parseGatewayWord(frame.value), onReady);
  }

  #hear(word: GatewayWord, onReady: () => void): void {
    switch (word.word) {
      case 'ready':
        onReady();
        break;
      case 'done':
        this.#waiting.get(word.id)?.resolve();
        this.#waiting.delete(word.id);
        break;
      case 'flows':
        void this.#record(word);
    }
  }

  async #record({ batch, flows, ends }: Extract<GatewayWord, { word: 'flows' }>): Promise<void> {
    const isRecorded = await this.#relay.send({ flows, ends });
    const order: GatewayOrder = { order: isRecorded ? 'recorded' : 'refused', batch };
    await this.#channel.sendJson(order).catch(() => undefined);
  }

  #fail(): void {
    this.#ended = true;
    this.#channel.close();
    closeSync(this.#passing);
    for (const { reject } of this.#waiting.values()) reject(gone());
    this.#waiting.clear();
  }
}

function passed(listeners: readonly Listener[]) {
  return listeners.map(({ transport, port, proxy }) => ({ transport, port, proxy }));
}

function gone(): Fault {
  return new Fault('sandbox.unavailable', { detail: 'The gateway is being started again; try again.' });
}
