import { createWriteStream } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { pipeline } from 'node:stream/promises';
import type { Command } from 'commander';
import { PlainLines } from '../base/plain-lines.ts';
import type { TerminalView } from '../contract/attach-schemas.ts';
import type { Api } from './api.ts';
import { type Context, note, print } from './context.ts';
import type { Environment } from './environment.ts';
import { escapeLine } from './escape.ts';
import { CliFailure, exitStatus, UsageFailure } from './failure.ts';
import { cliLimits } from './limits.ts';
import { createProgress, type Progress } from './progress.ts';
import { parseDuration, parseNumber, parseWhole, showBytes } from './quantities.ts';
import { resolveRun } from './resolve.ts';
import type { CastFile } from './terminal/cast-file.ts';
import { chooseTerminal } from './terminals.ts';

type Flags = {
  speed: string;
  from?: string;
  idle?: string;
  terminal?: string;
  search?: string;
  limit: string;
  output?: string;
};

export function defineReplay(program: Command, context: Context): void {
  program
    .command('replay')
    .summary('play the recording of a terminal')
    .description(
      'Plays what a terminal showed, also one that ended long ago; of a live one, what there is by now. Nothing in\n' +
        'it does more to your terminal than draw. Where standard output is no terminal, its text is printed.\n' +
        'Keys: space pauses, left and right jump 5 s, up and down change the speed, g starts again, q leaves.\n\n' +
        'Examples:\n' +
        '  sealwright replay latest --speed 4 --idle 2s\n' +
        '  sealwright replay build --from 01:30\n' +
        '  sealwright replay build --search "permission denied"\n' +
        '  sealwright replay build --output build.cast    # asciicast v2, as recorded: other players do not guard you',
    )
    .argument('<run>', 'id, beginning of an id, name, or "latest"')
    .option('--speed <number>', 'how many times as fast', '1')
    .option('--from <time>', 'where to begin, such as 90, 01:30 or 1:02:03')
    .option('--idle <duration>', 'pauses longer than this are cut, such as 2s')
    .option('--terminal <id>', "another terminal than the run's own; see sealwright runs terminals")
    .option('--search <text>', 'print the lines that hold this text, with their times, in place of playing')
    .option('--limit <number>', 'with --search: how many lines at most', '100')
    .option('--output <file>', 'save the recording in place of playing; - for standard output')
    .action(async (word: string, flags: Flags) => {
      context.status = await replay(context, word, flags);
    });
}

async function replay(context: Context, word: string, flags: Flags): Promise<number> {
  const play = {
    speed: parseNumber(flags.speed, '--speed'),
    from: flags.from === undefined ? 0 : parseClock(flags.from),
    idleMax: flags.idle === undefined ? Number.POSITIVE_INFINITY : parseDuration(flags.idle, '--idle'),
  };
  if (play.speed <= 0) throw new UsageFailure('--speed takes a number above 0');
  const api = await context.connect();
  const terminal = await chooseTerminal(api, await resolveRun(api, word), flags.terminal);
  if (flags.search !== undefined)
    return await search(context, api, terminal, flags.search, parseWhole(flags.limit, '--limit'));
  if (flags.output !== undefined) return await save(context, api, terminal, flags.output);
  const folder = await mkdtemp(join(context.environment.temporary, 'sealwright-replay-'));
  try {
    const path = join(folder, 'recording.cast');
    const progress = createProgress(context.environment, context.verbose);
    await fetched(api, terminal, path, progress);
    await progress.clear();
    return await shown(context, path, play);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function shown(
  { environment }: Context,
  path: string,
  play: { readonly speed: number; readonly from: number; readonly idleMax: number },
): Promise<number> {
  const { CastFile } = await import('./terminal/cast-file.ts');
  const cast = await CastFile.open(path);
  if (environment.terminal === null) {
    await printText(environment, cast, play.from);
    return exitStatus.ok;
  }
  const [{ Player, showClock }, { sizeOf }] = await Promise.all([
    import('./terminal/player.ts'),
    import('./terminal/interact.ts'),
  ]);
  const { columns, rows } = sizeOf(environment.terminal);
  if (columns < cast.size.columns || rows < cast.size.rows)
    await note(
      environment,
      `it was recorded in ${cast.size.columns}×${cast.size.rows}, and yours is ${columns}×${rows}: lines may break`,
    );
  const reached = await new Player(environment, environment.terminal, cast, play).play();
  await note(environment, `the replay ended at ${showClock(reached)}`);
  return exitStatus.ok;
}

/** Its lines as they were left, for whoever is no terminal: no sequences, and no controls but line feeds and tabs. */
async function printText({ stdout }: Environment, cast: CastFile, from: number): Promise<void> {
  let text = '';
  const { plainLineCharactersMax: charactersMax } = cliLimits;
  const lines = new PlainLines({ drawnOver: 'gone', charactersMax }, (line) => {
    text += `${line}\n`;
  });
  lines.columns = cast.size.columns;
  for await (const event of cast.events()) {
    if (event.kind === 'resize') lines.columns = event.size.columns;
    else lines.push(event.text, event.at);
    if (event.at >= from && text !== '') await stdout.write(text);
    text = '';
  }
  lines.end();
  // The last line has no end.
  if (text !== '') await stdout.write(text.slice(0, -1));
}

async function fetched(api: Api, terminal: TerminalView, path: string, progress: Progress): Promise<void> {
  const { body } = await api.attach.recording(terminal.run, terminal.id);
  let bytes = 0;
  async function* counted() {
    for await (const chunk of body) {
      bytes += chunk.length;
      yield chunk;
      await progress.show(`fetching the recording: ${showBytes(bytes)}`);
    }
  }
  await pipeline(counted, createWriteStream(path, { flags: 'wx', mode: 0o600 })).catch((cause: unknown) => {
    throw new CliFailure('The recording could not be fetched whole. Try again.', { cause });
  });
}

async function save(context: Context, api: Api, terminal: TerminalView, path: string): Promise<number> {
  const { environment } = context;
  if (path === '-') {
    if (environment.stdout.isTerminal)
      throw new UsageFailure('A recording may do anything to a terminal', 'Name a file, or use a pipe.');
    const { body } = await api.attach.recording(terminal.run, terminal.id);
    for await (const chunk of body) await environment.stdout.write(chunk);
    return exitStatus.ok;
  }
  const { body } = await api.attach.recording(terminal.run, terminal.id);
  const file = resolve(environment.cwd, path);
  try {
    await pipeline(body, createWriteStream(file, { flags: 'wx', mode: 0o600 }));
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EEXIST') throw new CliFailure(`${path} is there already.`);
    await rm(file, { force: true });
    throw new CliFailure(`The recording could not be saved whole (${code ?? 'it broke off'}).`, {
      cause: error,
    });
  }
  return exitStatus.ok;
}

async function search(
  { environment }: Context,
  api: Api,
  terminal: TerminalView,
  text: string,
  limit: number,
): Promise<number> {
  const { showClock } = await import('./terminal/player.ts');
  const matches = await api.attach.search(terminal.run, terminal.id, { text, limit });
  for (const { at, line } of matches) await print(environment, `${showClock(at)}  ${escapeLine(line)}\n`);
  return matches.length === 0 ? exitStatus.failure : exitStatus.ok;
}

/** Seconds of `90`, `90.5`, `01:30`, `1:02:03` or `1m30s`. */
function parseClock(text: string): number {
  if (/^\d{1,3}(?::[0-5]?\d){1,2}$/.test(text))
    return text.split(':').reduce((seconds, part) => seconds * 60 + Number(part), 0);
  if (/^\d{1,9}\.\d{1,3}$/.test(text)) return Number(text);
  return parseDuration(text, '--from');
}
