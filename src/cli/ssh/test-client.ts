import { createPublicKey } from 'node:crypto';
import { once } from 'node:events';
import { Duplex } from 'node:stream';
import ssh2 from 'ssh2';
import type { SandboxAccess } from './sandbox-access.ts';
import { serveSsh } from './server.ts';

const hostKey = ssh2.utils.generateKeyPairSync('ed25519').private;
const clientPair = ssh2.utils.generateKeyPairSync('ed25519');

/** ssh2 takes keys that are parsed already, which its types do not know. */
export type TestConfig = Omit<ssh2.ConnectConfig, 'privateKey'> & {
  readonly privateKey?: string | ssh2.ParsedKey;
};

export type TestSsh = {
  readonly client: ssh2.Client;
  readonly said: string[];
  /** What `serveSsh` gives. */
  readonly ended: Promise<boolean>;
  readonly end: AbortController;
};

/** For tests: a server and, at the other end of a pipe in memory, an SSH client that has yet to connect with `config`. */
export function testSsh(access: SandboxAccess, config: TestConfig = {}): TestSsh {
  const [ours, theirs] = pipePair();
  const { said, end, ended } = testServer(access, ours);
  const client = new ssh2.Client();
  client.on('error', () => {});
  client.connect({
    username: 'agent',
    privateKey: clientPair.private,
    ...config,
    sock: theirs,
  } as ssh2.ConnectConfig);
  return { client, said, ended, end };
}

/** The server at one end of a pipe, for whoever speaks at the other. */
export function testServer(access: SandboxAccess, transport: Duplex): Omit<TestSsh, 'client'> {
  const parsed = ssh2.utils.parseKey(clientPair.private) as ssh2.ParsedKey;
  const said: string[] = [];
  const end = new AbortController();
  const ended = serveSsh(transport, {
    hostKey,
    clientKey: { blob: parsed.getPublicSSH(), key: createPublicKey(parsed.getPublicPEM()) },
    access,
    say: (text) => void said.push(text),
    signal: end.signal,
  });
  return { said, end, ended };
}

export async function connectedSsh(access: SandboxAccess): Promise<TestSsh> {
  const made = testSsh(access);
  await once(made.client, 'ready');
  return made;
}

export function strangersKey(): string {
  return ssh2.utils.generateKeyPairSync('ed25519').private;
}

/** The key that is let in, with signatures of another one. */
export function forgedKey(): ssh2.ParsedKey {
  const stranger = ssh2.utils.parseKey(strangersKey()) as ssh2.ParsedKey;
  const own = ssh2.utils.parseKey(clientPair.private) as ssh2.ParsedKey;
  return Object.assign(own, { sign: (data: Buffer) => stranger.sign(data) });
}

/** Two ends of a pipe in memory. What goes in comes out later, as it does between two processes. */
export function pipePair(): [Duplex, Duplex] {
  const [one, other] = [new PipeEnd(), new PipeEnd()];
  one.peer = other;
  other.peer = one;
  return [one, other];
}

class PipeEnd extends Duplex {
  peer: PipeEnd = this;
  #waiting: (() => void) | null = null;

  override _write(bytes: Buffer, _encoding: string, done: () => void): void {
    setImmediate(() => this.peer.#take(bytes, done));
  }

  #take(bytes: Buffer, done: () => void): void {
    if (this.destroyed || this.push(bytes)) done();
    else this.#waiting = done;
  }

  override _read(): void {
    this.#waiting?.();
    this.#waiting = null;
  }

  override _final(done: () => void): void {
    setImmediate(() => this.peer.#end());
    done();
  }

  #end(): void {
    if (!this.destroyed && !this.readableEnded) this.push(null);
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this._read();
    setImmediate(() => this.peer.#end());
    done(error);
  }
}
