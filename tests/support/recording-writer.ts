import { systemClock } from '../../src/base/clock.ts';
import { newId } from '../../src/model/ids.ts';
import { plainRedactor } from '../../src/redaction/redactor.ts';
import { runnerFolders } from '../../src/runner/folders.ts';
import { Recordings } from '../../src/runner/terminals/recording/recordings.ts';
import { openTestRecording, testIds } from './recordings.ts';

/**
 * A process that records numbered lines until it is killed, and says on standard output after each batch how many it has
 * shown: `recording-writer.ts FOLDER RUN SESSION TERMINAL`.
 */
const [folder = '', run = '', session = '', terminal = ''] = process.argv.slice(2);
const record = { append: async () => ({ id: newId('event', 0), seq: 1, hash: '' }) };
const log = { info: () => undefined, warn: () => undefined };
const recordings = new Recordings({
  ...{ folders: runnerFolders(folder), clock: systemClock, redactor: plainRedactor, record, log },
});
const { recorder } = openTestRecording(recordings, ['bash'], testIds(run, session, terminal));
for (let line = 0; ; ) {
  for (const last = line + 500; line < last; line += 1) recorder.output(Buffer.from(`line ${line} \r\n`));
  process.stdout.write(`${line}\n`);
  await new Promise((resolve) => setImmediate(resolve));
}
