import { type KeyObject, verify } from 'node:crypto';
import type { Duplex } from 'node:stream';
import type { AuthContext, Connection } from 'ssh2';
import ssh2 from 'ssh2';
import { carryForward, forwardBar } from './forward.ts';
import { sandboxUser } from './host.ts';
import { sshLimits } from './limits.ts';
import { wordsOf } from './refusal-text.ts';
import type { SandboxAccess } from './sandbox-access.ts';
import { serveSession } from './session.ts';

export type SshServerOptions = {
  /** The private key that the server shows, in OpenSSH's format. */
  readonly hostKey: string;
  /** The one key that clients are let in with. */
  readonly clientKey: { readonly blob: Buffer; readonly key: KeyObject };
  readonly access: SandboxAccess;
  /** One line for the person at the client's terminal. */
  say(text: string): void;
  /** Ends the connection. */
  readonly signal: AbortSignal;
};

/**
 * One algorithm of each kind, the fastest that both ends have: the bytes go through a pipe between two processes of one
 * person, so there is nobody to negotiate for. AES-GCM authenticates on its own; ssh2 adds strict key exchange.
 */
const algorithms: ssh2.Algorithms = {
  kex: ['curve25519-sha256', 'curve25519-sha256@libssh.org'],
  serverHostKey: ['ssh-ed25519'],
  cipher: ['aes128-gcm@openssh.com', 'aes256-gcm@openssh.com'],
  hmac: ['hmac-sha2-256-etm@openssh.com'],
  compress: ['none'],
};

/** A client that is stopped for a while (`~^Z`) comes back; over a pipe it cannot be lost without an end of file. */
const neverMs = 2 ** 31 - 1;

/**
 * Speaks SSH with the one client at the other end of `transport` until it leaves, and gives whether it was let in. Every
 * command and connection of it ends with it.
 */
export async function serveSsh(transport: Duplex, options: SshServerOptions): Promise<boolean> {
  const closed = new AbortController();
  const gone = AbortSignal.any([closed.signal, options.signal]);
  let greeted = false;
  let letIn = false;
  const server = new ssh2.Server(
    { hostKeys: [options.hostKey], ident: 'sealwright', algorithms, keepaliveInterval: neverMs },
    (connection) => {
      greeted = true;
      serveConnection(connection, options, gone);
      connection.on('ready', () => {
        letIn = true;
        clearTimeout(grace);
      });
      connection.on('error', (error) => {
        if (!gone.aborted && transport.readable) options.say(`The SSH connection failed: ${wordsOf(error)}`);
      });
    },
  );
  const ended = new Promise<void>((resolve) => {
    for (const event of ['end', 'finish', 'close', 'error'] as const) transport.once(event, () => resolve());
    gone.addEventListener('abort', () => resolve(), { once: true });
  });
  const grace = setTimeout(() => {
    options.say('The SSH client did not show its key in time.');
    transport.destroy();
  }, sshLimits.loginGraceMs);
  server.on('error', (error: Error) => {
    options.say(wordsOf(error));
    transport.destroy();
  });
  server.injectSocket(transport as unknown as Parameters<typeof server.injectSocket>[0]);
  await ended;
  clearTimeout(grace);
  closed.abort();
  transport.destroy();
  if (!greeted && !options.signal.aborted) options.say('Nobody spoke SSH on standard input.');
  return letIn;
}

function serveConnection(connection: Connection, options: SshServerOptions, gone: AbortSignal): void {
  const { access, say } = options;
  const slots = new Slots(() =>
    say(`More than ${sshLimits.channelsMax} channels at once are refused; close some, or connect once more.`),
  );
  let attempts = 0;
  connection.on('authentication', (context) => {
    attempts += 1;
    if (attempts > sshLimits.loginAttemptsMax) connection.end();
    else authenticate(context, options);
  });
  connection.on('session', (accept, reject) => {
    if (!slots.take()) return reject();
    const session = accept();
    session.once('close', () => slots.free());
    serveSession(session, access, gone);
  });
  connection.on('tcpip', (accept, reject, info) => {
    const bar = forwardBar(info);
    if (bar !== null) say(bar);
    if (bar !== null || !slots.take()) return reject();
    void forward(info.destPort, accept, reject).finally(() => slots.free());
  });
  // Forwarding to the client's side, of ports or sockets: the sandbox must not reach into the client's machine.
  connection.on('request', (_accept, reject) => reject?.());

  async function forward(port: number, accept: () => ssh2.ServerChannel, reject: () => void): Promise<void> {
    try {
      const inside = await access.connect(port);
      if (gone.aborted) inside.destroy();
      else await carryForward(accept(), inside, gone);
    } catch (error) {
      say(`Port ${port}: ${wordsOf(error)}`);
      reject();
    }
  }
}

/** Counts channels that are open. */
class Slots {
  readonly #full: () => void;
  #taken = 0;

  constructor(full: () => void) {
    this.#full = full;
  }

  take(): boolean {
    const hasRoom = this.#taken < sshLimits.channelsMax;
    if (hasRoom) this.#taken += 1;
    else this.#full();
    return hasRoom;
  }

  free(): void {
    this.#taken -= 1;
  }
}

/** Lets in whoever holds the one key, as the one user that sandboxes have. There is no other way in. */
function authenticate(context: AuthContext, { clientKey, say }: SshServerOptions): void {
  if (context.username !== sandboxUser) {
    // Clients try `none` first, so this is said once.
    if (context.method === 'none')
      say(`Sandboxes have one user: set "User ${sandboxUser}", or connect to ${sandboxUser}@….`);
    context.reject([]);
  } else if (context.method === 'publickey' && isClientKey(context, clientKey)) context.accept();
  else context.reject(['publickey']);
}

/** Whether it shows the key and, where it has signed already, whether it holds it. */
function isClientKey(
  { key, signature, blob }: ssh2.PublicKeyAuthContext,
  clientKey: SshServerOptions['clientKey'],
): boolean {
  if (key.algo !== 'ssh-ed25519' || !key.data.equals(clientKey.blob)) return false;
  if (signature === undefined) return true;
  return blob !== undefined && verify(null, blob, clientKey.key, signature);
}
