import type { Readable } from 'node:stream';
import type { Channel } from '../../base/channel.ts';
import { type AttachStream, attachStreams } from '../../contract/attach.ts';
import type { ExecExit, ExecSpec, ExecStarted } from '../../contract/runner-terminals.ts';
import type { SandboxExec } from '../../sandbox/terminal.ts';
import { parseEndInput } from '../control-frames.ts';
import type { ExecPlace, Execs } from './execs.ts';
import { terminalLimits } from './limits.ts';

/** Serves a command with pipes until it ends; control's hanging up ends it. Throws Fault where it cannot start. */
export async function serveExec(
  execs: Execs,
  channel: Channel,
  place: ExecPlace,
  spec: ExecSpec,
): Promise<void> {
  const { exec, ended } = await execs.start(place, spec, null);
  const bytes = { in: 0, out: 0 };
  void channel.closed.then(() => exec.kill());
  try {
    await channel.sendJson({ started: true } satisfies ExecStarted);
    void type(channel, exec, bytes).catch(() => channel.close());
    await show(channel, exec, bytes);
    const { status: code } = await exec.ended;
    await channel.sendJson({ exit: { code } } satisfies ExecExit);
    channel.end();
    await channel.closed;
  } finally {
    exec.kill();
    void exec.ended.then(({ status }) => ended({ code: status, bytesIn: bytes.in, bytesOut: bytes.out }));
  }
}

type Counted = { in: number; out: number };

async function type(channel: Channel, { stdin }: SandboxExec, bytes: Counted): Promise<void> {
  // A command that reads no more makes nobody fail.
  stdin?.on('error', () => undefined);
  for (let frame = await channel.read(); frame !== null; frame = await channel.read()) {
    if (frame.kind === 'json') {
      parseEndInput(frame.value);
      stdin?.end();
    } else if (stdin?.writable === true) {
      bytes.in += frame.bytes.length;
      if (!stdin.write(frame.bytes)) await channel.whileUnread(drained(stdin));
    }
  }
}

function drained(stdin: NonNullable<SandboxExec['stdin']>): Promise<void> {
  return new Promise((resolve) => {
    const settle = () => {
      for (const event of ['drain', 'close', 'error']) stdin.off(event, settle);
      resolve();
    };
    for (const event of ['drain', 'close', 'error']) stdin.on(event, settle);
  });
}

/** Until both pipes end, or nothing comes for a moment once the command has ended: its children may hold them for ever. */
async function show(channel: Channel, exec: SandboxExec, bytes: Counted): Promise<void> {
  const { promise: quiet, resolve } = Promise.withResolvers<void>();
  let timer: NodeJS.Timeout | null = null;
  let sending = 0;
  let isEnded = false;
  const look = () => {
    if (timer !== null) clearTimeout(timer);
    timer = isEnded && sending === 0 ? setTimeout(resolve, terminalLimits.drainMs) : null;
  };
  const send = async (chunk: Buffer) => {
    bytes.out += chunk.length - 1;
    sending += 1;
    look();
    await channel.sendData(chunk);
    sending -= 1;
    look();
  };
  void exec.ended.then(() => {
    isEnded = true;
    look();
  });
  const both = Promise.all([
    move(exec.stdout, attachStreams.output, send),
    move(exec.stderr, attachStreams.error, send),
  ]);
  await Promise.race([both, quiet]).finally(() => {
    if (timer !== null) clearTimeout(timer);
  });
}

async function move(
  stream: Readable,
  kind: AttachStream,
  send: (bytes: Buffer) => Promise<void>,
): Promise<void> {
  const mark = Buffer.from([kind]);
  for await (const chunk of stream as AsyncIterable<Buffer>)
    for (let at = 0; at < chunk.length; at += terminalLimits.readBytesMax)
      await send(Buffer.concat([mark, chunk.subarray(at, at + terminalLimits.readBytesMax)]));
}
