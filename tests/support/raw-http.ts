import { once } from 'node:events';
import { connect, type Socket } from 'node:net';

export type RawAnswer = {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  /** Still chunked where the answer is. */
  readonly body: string;
  readonly text: string;
};

/** Sends bytes as they are and takes everything that comes until the server ends the connection. */
export async function rawExchange(
  port: number,
  request: string | Buffer,
  timeoutMs = 30_000,
): Promise<RawAnswer> {
  const socket = await openRaw(port);
  socket.write(request);
  return await drain(socket, timeoutMs);
}

export async function openRaw(port: number): Promise<Socket> {
  const socket = connect({ port, host: '127.0.0.1' });
  await once(socket, 'connect');
  return socket;
}

/** What comes until the end of the connection; a reset ends it too. Rejects when it stays open. */
export async function drain(socket: Socket, timeoutMs = 30_000): Promise<RawAnswer> {
  const chunks: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => chunks.push(chunk));
  socket.on('error', () => undefined);
  const timer = setTimeout(() => socket.destroy(new Error('the connection stays open')), timeoutMs);
  const closed = Promise.withResolvers<void>();
  let late: Error | null = null;
  socket.on('error', (error) => {
    if (error.message === 'the connection stays open') late = error;
  });
  socket.once('close', () => closed.resolve());
  socket.once('end', () => socket.end());
  await closed.promise;
  clearTimeout(timer);
  if (late !== null) throw late;
  return parseAnswer(Buffer.concat(chunks).toString('latin1'));
}

/** The first answer in what was received; status 0 when nothing was. */
export function parseAnswer(text: string): RawAnswer {
  const end = text.indexOf('\r\n\r\n');
  const [first = '', ...lines] = (end === -1 ? text : text.slice(0, end)).split('\r\n');
  const headers = Object.fromEntries(
    lines.map((line) => [
      line.slice(0, line.indexOf(':')).toLowerCase(),
      line.slice(line.indexOf(':') + 1).trim(),
    ]),
  );
  return {
    status: Number(first.split(' ')[1] ?? 0),
    headers,
    body: end === -1 ? '' : text.slice(end + 4),
    text,
  };
}
