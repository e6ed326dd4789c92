import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '../../src/base/clock.ts';
import { newId } from '../../src/model/ids.ts';
import { openRedactor } from '../../src/redaction/redactor.ts';
import { SecretValues } from '../../src/redaction/secret-values.ts';
import { runnerFolders } from '../../src/runner/folders.ts';
import { Recordings } from '../../src/runner/terminals/recording/recordings.ts';
import { ScreenThread } from '../../src/runner/terminals/screen-thread.ts';
import { TerminalHub, type TerminalRecorder } from '../../src/runner/terminals/terminal-hub.ts';
import type { Row } from '../row.ts';
import { bulkCommand, bulkFileBytes } from './bulk.ts';
import { ownTerminal } from './own-terminal.ts';

/** Of a run in the heat of its work there may be as many secrets. */
const secrets = 10;

const nobody: TerminalRecorder = {
  isRecorded: true,
  onRecorded: () => undefined,
  output: () => undefined,
  input: () => undefined,
  resized: () => undefined,
};

type Cost = { readonly seconds: number; readonly cpuSeconds: number };

/** All output of a command through the runner's own hub, with its screen and one reader. */
async function through(recorder: TerminalRecorder, times: number): Promise<Cost> {
  const { child, output, type } = ownTerminal(bulkCommand(times));
  const screens = new ScreenThread();
  const hub = new TerminalHub({
    terminal: {
      output,
      write: async (bytes) => type(bytes),
      resize: () => undefined,
      echoes: () => true,
      close: () => output.destroy(),
    },
    size: { columns: 80, rows: 24 },
    screens,
    recorder,
  });
  const reader = await hub.subscribe(0);
  const shown = async (text: string) => {
    for (let tail = ''; !tail.includes(text); ) {
      const item = await reader.next();
      if (item === null) throw new Error('the reader fell behind');
      if ('bytes' in item) tail = (tail + item.bytes.toString('latin1')).slice(-64);
    }
  };
  await shown('ready');
  const [startedAt, before] = [performance.now(), process.cpuUsage()];
  type(Buffer.from('\n'));
  await shown('all shown');
  const { user, system } = process.cpuUsage(before);
  const cost = { seconds: (performance.now() - startedAt) / 1_000, cpuSeconds: (user + system) / 1e6 };
  child.kill('SIGKILL');
  await hub.end(null);
  await screens.close();
  return cost;
}

async function recorded(times: number): Promise<Cost> {
  const root = mkdtempSync(join(tmpdir(), 'sealwright-bench-recording-'));
  try {
    const folders = runnerFolders(root);
    mkdirSync(folders.runs, { recursive: true });
    const values = new SecretValues();
    for (let index = 0; index < secrets; index += 1)
      values.hold('bench', `secret-${index}`, `value-${index}-${'x'.repeat(24)}`);
    const nothing = () => undefined;
    const recordings = new Recordings({
      folders,
      clock: systemClock,
      redactor: openRedactor(values),
      record: { append: async () => ({ id: newId('event', 0), seq: 1, hash: '' }) },
      log: { info: nothing, warn: nothing },
    });
    const recording = recordings.open({
      kind: 'run',
      by: 'user:bench',
      command: ['cat'],
      run: { run: newId('run', 0), session: newId('session', 0), owner: 'user:bench' },
      terminal: { id: newId('terminal', 0), size: { columns: 80, rows: 24 } },
    });
    const cost = await through(recording.recorder, times);
    await recording.end(0);
    return cost;
  } finally {
    rmSync(root, { recursive: true });
  }
}

/** The runner's way of a terminal with and without what records it, in turns, in one process. */
export async function recordingRows(times: number): Promise<Row[]> {
  const [on, off]: [Cost[], Cost[]] = [[], []];
  for (let turn = 0; turn < 3; turn += 1) {
    off.push(await through(nobody, times));
    on.push(await recorded(times));
  }
  const middle = (costs: readonly Cost[], key: keyof Cost) =>
    costs.map((cost) => cost[key]).toSorted((a, b) => a - b)[1]!;
  const megabytes = (times * bulkFileBytes) / 1e6;
  const ofCpu = (costs: readonly Cost[]) =>
    `${((1_000 * middle(costs, 'cpuSeconds')) / megabytes).toFixed(1)} ms of a core for each MB`;
  const rate = (costs: readonly Cost[]) => `${(megabytes / middle(costs, 'seconds')).toFixed(0)} MB/s`;
  return [
    {
      what: `recording, with ${secrets} secrets looked for: processor time`,
      figure: ofCpu(on),
      peer: `the same without: ${ofCpu(off)}`,
      ratio: middle(on, 'cpuSeconds') / middle(off, 'cpuSeconds'),
    },
    {
      what: 'recording: output in bulk through the runner',
      figure: rate(on),
      peer: `the same without: ${rate(off)}`,
      ratio: middle(off, 'seconds') / middle(on, 'seconds'),
    },
  ];
}
