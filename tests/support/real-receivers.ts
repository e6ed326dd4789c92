import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, globSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { loopbackPair } from './certificates.ts';
import { notFetched, testProgram } from './test-programs.ts';

const rsyslogd = testProgram('rsyslog/usr/sbin/rsyslogd');
const prometheus = testProgram('prometheus/usr/bin/prometheus');
export const lacksRsyslog = notFetched(rsyslogd);
export const lacksPrometheus = notFetched(prometheus);

async function killed(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill('SIGKILL');
  await once(child, 'exit');
}

/** One message as rsyslog understood it. */
export type RsyslogMessage = {
  readonly pri: string;
  readonly host: string;
  readonly app: string;
  readonly msgid: string;
  readonly data: string;
  readonly msg: string;
};

/** Debian's rsyslog, receiving over TLS under an authority of its own, whose file is `authority`. */
export class Rsyslog {
  readonly #folder: string;
  #child: ChildProcess | null = null;
  port = 0;

  constructor(folder: string) {
    this.#folder = folder;
    const pair = loopbackPair();
    for (const [name, text] of [
      ['ca.pem', pair.authority],
      ['cert.pem', pair.certificate],
      ['key.pem', pair.key],
    ] as const)
      writeFileSync(join(folder, name), text, { mode: 0o600 });
  }

  get authority(): string {
    return join(this.#folder, 'ca.pem');
  }

  /** At the port that it had before, once it had one. */
  async start(): Promise<void> {
    const file = (name: string) => join(this.#folder, name);
    const template = ['pri', 'hostname', 'app-name', 'msgid', 'structured-data', 'msg'].map(
      (name) => `%${name}%`,
    );
    writeFileSync(
      file('rsyslog.conf'),
      [
        'global(',
        `  workDirectory="${this.#folder}" maxMessageSize="64k" defaultNetstreamDriver="gtls"`,
        `  defaultNetstreamDriverCAFile="${file('ca.pem')}"`,
        `  defaultNetstreamDriverCertFile="${file('cert.pem')}"`,
        `  defaultNetstreamDriverKeyFile="${file('key.pem')}"`,
        ')',
        'module(load="imtcp" streamDriver.name="gtls" streamDriver.mode="1" streamDriver.authMode="anon")',
        `template(name="whole" type="string" string="${template.join('\\t')}\\n")`,
        `input(type="imtcp" address="127.0.0.1" port="${this.port}" listenPortFileName="${file('port')}")`,
        `action(type="omfile" file="${file('received')}" template="whole")`,
        '',
      ].join('\n'),
    );
    const child = spawn(
      rsyslogd,
      [
        ...['-n', '-iNONE', '-f', file('rsyslog.conf')],
        ...['-M', globSync(testProgram('rsyslog/usr/lib/*-linux-gnu/rsyslog'))[0] ?? ''],
      ],
      {
        env: { LD_LIBRARY_PATH: globSync(testProgram('rsyslog/usr/lib/*-linux-gnu')).join(':') },
        stdio: ['ignore', 'ignore', 'pipe'],
      },
    );
    const said: string[] = [];
    child.stderr!.on('data', (chunk: Buffer) => said.push(chunk.toString('utf8')));
    this.#child = child;
    for (
      const deadline = Date.now() + 10_000;
      !existsSync(file('port')) || this.#readPort() === 0;
      await wait(10)
    )
      if (Date.now() > deadline || child.exitCode !== null)
        throw new Error(`rsyslog did not start: ${said.join('')}`);
    this.port = this.#readPort();
  }

  #readPort(): number {
    return Number(readFileSync(join(this.#folder, 'port'), 'utf8'));
  }

  messages(): RsyslogMessage[] {
    const path = join(this.#folder, 'received');
    if (!existsSync(path)) return [];
    return readFileSync(path, 'utf8')
      .split('\n')
      .slice(0, -1)
      .map((line) => {
        const [pri = '', host = '', app = '', msgid = '', data = '', ...msg] = line.split('\t');
        return { pri, host, app, msgid, data, msg: msg.join('\t').trim() };
      });
  }

  /** Ends it with no chance to say anything. */
  async kill(): Promise<void> {
    if (this.#child !== null) await killed(this.#child);
    this.#child = null;
  }
}

/** Debian's Prometheus, scraping one target with a token. */
export class Prometheus {
  readonly #child: ChildProcess;
  readonly #url: string;

  private constructor(child: ChildProcess, url: string) {
    this.#child = child;
    this.#url = url;
  }

  static async start(folder: string, target: { url: string; token: string }): Promise<Prometheus> {
    const config = join(folder, 'prometheus.yml');
    writeFileSync(join(folder, 'token'), target.token, { mode: 0o600 });
    writeFileSync(
      config,
      [
        'global: { scrape_interval: 1s }',
        'scrape_configs:',
        '  - job_name: sealwright',
        `    authorization: { credentials_file: ${join(folder, 'token')} }`,
        `    static_configs: [ { targets: [ '${new URL(target.url).host}' ] } ]`,
        '',
      ].join('\n'),
    );
    const port = await freePort();
    const child = spawn(
      prometheus,
      [
        `--config.file=${config}`,
        `--storage.tsdb.path=${join(folder, 'data')}`,
        `--web.listen-address=127.0.0.1:${port}`,
      ],
      { env: {}, cwd: folder, stdio: 'ignore' },
    );
    return new Prometheus(child, `http://127.0.0.1:${port}`);
  }

  /** The samples that a query finds now; none while it is not there yet. */
  async query(text: string): Promise<{ metric: Record<string, string>; value: [number, string] }[]> {
    try {
      const answer = await fetch(`${this.#url}/api/v1/query?query=${encodeURIComponent(text)}`);
      return ((await answer.json()) as { data: { result: [] } }).data.result;
    } catch {
      return [];
    }
  }

  async close(): Promise<void> {
    await killed(this.#child);
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}
