import { createReadStream } from 'node:fs';
import { lstat, mkdir, stat } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { pipeline } from 'node:stream/promises';
import type { Command } from 'commander';
import type { RemoteExec } from '../client/attach/pipes.ts';
import type { Api } from './api.ts';
import { type Context, note, printUntrusted } from './context.ts';
import { copyLimits, scripts } from './copy/scripts.ts';
import type { Packed } from './copy/tar-writer.ts';
import { escapeText } from './escape.ts';
import { CliFailure, UsageFailure } from './failure.ts';
import { createProgress, type Progress } from './progress.ts';
import { showBytes } from './quantities.ts';
import { resolveRun } from './resolve.ts';

export function defineCp(program: Command, context: Context): void {
  program
    .command('cp')
    .summary('copy files and folders into and out of a live run')
    .description(
      'Copies a file or folder into the sandbox of a live run, or out of it. What is there already is replaced, and\n' +
        'a folder is filled. Out of a sandbox come files and folders alone: no links, devices or owners, and nothing\n' +
        'outside of the target. Attaching has to be on for the session, and it needs control:write.\n\n' +
        'Examples:\n' +
        '  sealwright cp build:/workspace/report.html .\n' +
        '  sealwright cp build:out ./out              # relative to /workspace\n' +
        '  sealwright cp ./data build:/workspace/\n' +
        '  sealwright cp build:log.txt - | less       # - is standard output, or input',
    )
    .argument('<from>', 'a path here, RUN:PATH, or -')
    .argument('<to>', 'RUN:PATH, a path here, or -')
    .action(async (from: string, to: string) => {
      const [source, target] = [remoteOf(from), remoteOf(to)];
      if (source !== null && target === null) return await download(context, source, to);
      if (source === null && target !== null) return await upload(context, from, target);
      throw new UsageFailure(
        source === null ? 'Neither of the two is in a run' : 'Both are in runs',
        'One of them is RUN:PATH, as in: sealwright cp build:/workspace/report.html .',
      );
    });
}

type Remote = { readonly run: string; readonly path: string };

/** `RUN:PATH`, `RUN:` for its workspace; a path of this machine that looks so is written with `./` before it. */
function remoteOf(word: string): Remote | null {
  const match = /^([^:/\\.][^:/\\]{1,}):(.*)$/s.exec(word);
  return match === null ? null : { run: match[1]!, path: match[2] || '.' };
}

async function download(context: Context, { run: word, path }: Remote, to: string): Promise<void> {
  const { environment } = context;
  const api = await context.connect();
  const run = await resolveRun(api, word);
  const progress = createProgress(environment, context.verbose);
  const copying = await begin(api, run, scripts.read, [path]);
  copying.remote.stdin.end();
  try {
    const kind = await copying.said();
    if (to === '-') await toOutput(context, copying);
    else if (kind === 'folder')
      await toFolder(context, copying, landing(environment.cwd, to), path, progress);
    else if (kind === 'file') await toFile(context, copying, landing(environment.cwd, to), path, progress);
    await copying.ended();
  } finally {
    await progress.clear();
    copying.close();
  }
}

/** A target here; with a slash at its end it is to be a folder. */
function landing(cwd: string, to: string): { readonly path: string; readonly isFolder: boolean } {
  return { path: resolve(cwd, to), isFolder: /[/\\]$/.test(to) };
}

async function toOutput({ environment }: Context, copying: Copying): Promise<void> {
  for await (const chunk of copying.rest()) {
    if (environment.stdout.isTerminal) await printUntrusted(environment, Buffer.from(chunk).toString('utf8'));
    else await environment.stdout.write(chunk);
  }
}

async function toFolder(
  { environment }: Context,
  copying: Copying,
  { path }: { readonly path: string },
  from: string,
  progress: Progress,
): Promise<void> {
  // Into a folder that is there, as cp does; what is not there becomes it.
  const target = (await isFolder(path)) ? join(path, nameOf(from, environment.platform)) : path;
  const there = await lstat(target).catch(() => null);
  if (there === null) await mkdir(target);
  else if (!there.isDirectory()) throw new CliFailure(`${target} is there, and no folder.`);
  const { unpack } = await import('./copy/unpack.ts');
  const unpacked = await unpack(copying.rest(), target, {
    progress: async ({ files, bytes }) => await progress.show(`${files} files, ${showBytes(bytes)}`),
    platform: environment.platform,
  });
  await progress.clear();
  const leftOut = unpacked.leftOut === 0 ? '' : `; ${unpacked.leftOut} links and devices are left out`;
  await note(environment, `${unpacked.files} files, ${showBytes(unpacked.bytes)}, to ${target}${leftOut}`);
}

async function toFile(
  { environment }: Context,
  copying: Copying,
  { path, isFolder: wantsFolder }: { readonly path: string; readonly isFolder: boolean },
  from: string,
  progress: Progress,
): Promise<void> {
  const into = await isFolder(path);
  if (wantsFolder && !into) throw new CliFailure(`There is no folder ${path}.`);
  const target = into ? join(path, nameOf(from, environment.platform)) : path;
  const { replaceFile } = await import('./copy/unpack.ts');
  let bytes = 0;
  await replaceFile(target, copying.mode, async (file) => {
    for await (const chunk of copying.rest()) {
      await file.writeFile(chunk);
      bytes += chunk.length;
      await progress.show(showBytes(bytes));
    }
    // Nothing of a file that did not come whole is put into its place.
    await copying.ended();
  });
  await progress.clear();
  await note(environment, `${showBytes(bytes)}, to ${target}`);
}

async function isFolder(path: string): Promise<boolean> {
  return await stat(path).then(
    (info) => info.isDirectory(),
    () => false,
  );
}

/** The last part of a path of the sandbox, as a name here. It is what the user wrote. */
function nameOf(path: string, platform: NodeJS.Platform): string {
  const name = basename(path.replace(/\/+$/, ''));
  if (name === '' || name === '.' || name === '..' || (platform === 'win32' && /[<>:"\\|?*]/.test(name)))
    throw new UsageFailure(
      `What comes of ${path} needs a name here`,
      'Name the target itself, not its folder.',
    );
  return name;
}

async function upload(context: Context, from: string, { run: word, path }: Remote): Promise<void> {
  const { environment } = context;
  const local = resolve(environment.cwd, from);
  const info = from === '-' ? null : await stat(local).catch(() => null);
  if (from !== '-' && info === null) throw new CliFailure(`There is no ${local}.`);
  if (info !== null && !info.isDirectory() && !info.isFile())
    throw new CliFailure(`${local} is neither a file nor a folder.`);
  const api = await context.connect();
  const run = await resolveRun(api, word);
  const progress = createProgress(environment, context.verbose);
  const name = from === '-' ? '' : basename(local);
  const script = info?.isDirectory() === true ? scripts.fill : scripts.write;
  const mode = ((info?.mode ?? 0o644) & 0o777).toString(8);
  const size = info?.isFile() === true ? info.size.toString() : '';
  const copying = await begin(api, run, script, [path, name, mode, size]);
  const packed: Packed = { files: 0, bytes: 0, leftOut: 0 };
  try {
    const bytes = await source(context, local, info, packed);
    await pipeline(counted(bytes, progress), copying.remote.stdin).catch(async (error: unknown) => {
      // Where the command ended first, it has said why.
      if (error instanceof CliFailure) throw error;
    });
    await copying.ended();
  } finally {
    await progress.clear();
    copying.close();
  }
  if (packed.leftOut > 0)
    await note(environment, `${packed.leftOut} sockets, pipes and devices are left out`);
}

async function source(
  { environment }: Context,
  local: string,
  info: { isDirectory(): boolean } | null,
  packed: Packed,
): Promise<AsyncIterable<Uint8Array>> {
  if (info === null) return environment.stdin.read();
  if (!info.isDirectory()) return createReadStream(local) as AsyncIterable<Buffer>;
  const { packFolder } = await import('./copy/tar-writer.ts');
  return packFolder(local, packed);
}

async function* counted(bytes: AsyncIterable<Uint8Array>, progress: Progress) {
  let count = 0;
  for await (const chunk of bytes) {
    count += chunk.length;
    yield chunk;
    await progress.show(showBytes(count));
  }
}

/** One script in the sandbox. What it says, and how it ends, is the sandbox's own word. */
class Copying {
  /** Of a file, without what makes programs run as others. */
  mode = 0o644;
  readonly remote: RemoteExec;
  readonly #output: AsyncIterator<Uint8Array>;
  readonly #complaint: Promise<string>;
  #held: Buffer = Buffer.alloc(0);

  constructor(remote: RemoteExec) {
    this.remote = remote;
    this.#output = (remote.stdout as AsyncIterable<Uint8Array>)[Symbol.asyncIterator]();
    this.#complaint = complaintOf(remote.stderr);
  }

  /** The line that a reading script begins with; null where it ended without one. */
  async said(): Promise<'file' | 'folder' | null> {
    while (!this.#held.includes(0x0a) && this.#held.length < copyLimits.lineBytesMax) {
      const { value, done } = await this.#output.next();
      if (done === true) return null;
      this.#held = Buffer.concat([this.#held, value]);
    }
    const end = this.#held.indexOf(0x0a);
    const match = /^(file|folder) ([0-7]{1,4})$/.exec(this.#held.toString('latin1', 0, Math.max(0, end)));
    if (match === null) throw new CliFailure('The sandbox did not say what it hands over.');
    this.#held = this.#held.subarray(end + 1);
    this.mode = Number.parseInt(match[2]!, 8) & 0o777;
    return match[1] as 'file' | 'folder';
  }

  async *rest(): AsyncGenerator<Uint8Array, void, undefined> {
    if (this.#held.length > 0) yield this.#held;
    for (;;) {
      const { value, done } = await this.#output.next();
      if (done === true) return;
      yield value;
    }
  }

  /** Throws CliFailure with what the script complained of. */
  async ended(): Promise<void> {
    this.remote.stdout.resume();
    const { code } = await this.remote.exit;
    if (code === 0) return;
    const complaint = (await this.#complaint).trim();
    throw new CliFailure(
      complaint === '' ? `The copy failed in the sandbox (status ${code}).` : `In the sandbox: ${complaint}`,
    );
  }

  close(): void {
    this.remote.close();
  }
}

async function begin(api: Api, run: string, script: string, words: readonly string[]): Promise<Copying> {
  const remote = await api.attach.openExec(run, { command: ['/bin/sh', '-c', script, 'cp', ...words] });
  return new Copying(remote);
}

/** The first of what a script complains of; it may complain without an end. */
async function complaintOf(stderr: AsyncIterable<Uint8Array>): Promise<string> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  try {
    for await (const chunk of stderr) {
      if (bytes < copyLimits.complaintBytesMax) chunks.push(chunk);
      bytes += chunk.length;
    }
  } catch {
    // The exit says why.
  }
  return escapeText(Buffer.concat(chunks).toString('utf8', 0, copyLimits.complaintBytesMax));
}
