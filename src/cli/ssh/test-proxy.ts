import { appendFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { openSshKeys } from './key-files.ts';
import { serveSsh } from './server.ts';
import { localAccess } from './test-access.ts';
import { pipeTransport } from './transport.ts';

/** For tests, as a ProxyCommand: FOLDER for its keys, commands and the file `asked`. It says on stderr what it is told to. */

const [folder = ''] = process.argv.slice(2);
const { platform } = process;
const uid = process.getuid?.() ?? null;
const keys = await openSshKeys({ variables: { SEALWRIGHT_HOME: folder }, home: homedir(), platform, uid });
const interruption = new AbortController();
process.once('SIGHUP', () => interruption.abort());
const output = {
  write: (bytes: Uint8Array | string) =>
    new Promise<void>((resolve, reject) => {
      process.stdout.write(bytes, (error) => (error == null ? resolve() : reject(error)));
    }),
};
const letIn = await serveSsh(pipeTransport(process.stdin, output), {
  ...keys,
  access: localAccess(folder, (line) => appendFileSync(`${folder}/asked`, `${line}\n`)),
  say: (text) => void process.stderr.write(`proxy: ${text}\n`),
  signal: interruption.signal,
});
appendFileSync(`${folder}/asked`, `gone ${letIn}\n`);
process.exit(letIn ? 0 : 1);
