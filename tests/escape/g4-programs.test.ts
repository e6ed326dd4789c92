import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import type { PutPolicy } from '../../src/contract/schemas.ts';
import type { SessionId } from '../../src/model/ids.ts';
import { FakeInternet, places } from '../support/fake-internet.ts';
import { type Instance, startInstance } from '../support/instance.ts';
import { debianRepository, npmRegistry, presetHosts, pythonIndex } from '../support/stub-registries.ts';
import { http2Port, StubSites, stubAddress } from '../support/stub-sites.ts';
import { notFetched, testProgram } from '../support/test-programs.ts';
import { type Ran, repositorySession, runOnce, sh } from '../support/workload.ts';

/** G4 with programs that nobody here wrote, as they come: what a policy allows works, and a denial is legible to them. */

const asRoot = process.getuid?.() === 0;
const skip = asRoot ? false : 'needs root for a network namespace of its own';

/** Where a Debian package puts its program, if it is here; a sandbox sees /usr and no other folder of programs. */
const lacks = (path: string, debian: string): string | false =>
  existsSync(path) ? false : `needs the Debian package ${debian}`;

/** A CLI that is one file of JavaScript; `tellsToo` hears how it is used, unless a policy keeps that from it. */
const agent = {
  package: '@google/gemini-cli',
  file: testProgram('agent.tgz'),
  preset: 'google-ai',
  tellsToo: 'play.googleapis.com',
} as const;

const web: PutPolicy['document'] = {
  rules: [
    { host: 'site.example' },
    { host: 'site.example', ports: [http2Port] },
    { host: 'site.example', protocol: 'http', methods: ['GET'], paths: ['/open/**', '/open'] },
  ],
};

/** A program, the script that uses it, and what is to be seen; `ADDRESS` in a script is the address that it asks. */
type Program = {
  readonly name: string;
  readonly skip: string | false;
  readonly script: string;
  readonly says: RegExp;
  /** Its exit status when the name is denied, and what it says then. */
  readonly denied: { readonly status: number; readonly says: RegExp };
  readonly url?: string;
  /** The script where the gateway looks inside TLS: no option says whom to trust. `script` where absent. */
  readonly inside?: string;
};

const node = (script: string, flags = '') => `node ${flags} -e '${script}'`;
const goProgram = `package main
import ("fmt"; "io"; "net/http"; "os")
func main() {
  answer, err := http.Get(os.Args[1])
  if err != nil { fmt.Println(err); os.Exit(1) }
  io.Copy(os.Stdout, answer.Body)
}`;
const javaProgram = `import java.net.URI;
import java.net.http.*;
public class Main {
  public static void main(String[] words) throws Exception {
    var request = HttpRequest.newBuilder(URI.create(words[0])).build();
    System.out.print(HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofString()).body());
  }
}`;
const webSocketProgram = `const socket = new WebSocket(process.argv[1]);
socket.onopen = () => socket.send("back");
socket.onmessage = ({ data }) => { console.log("said " + data); socket.close(); };
socket.onerror = () => { console.error("no connection"); process.exit(1); };`;
const http2Program = `const session = require("http2").connect(process.argv[1]);
session.on("error", (error) => { console.error(error.code); process.exit(1); });
const stream = session.request({ ":path": new URL(process.argv[1]).pathname });
stream.pipe(process.stdout); stream.on("error", () => {}); stream.on("end", () => session.close());`;

/** What scripts find in their environment. */
const sources = { GO: goProgram, JAVA: javaProgram, GOCACHE: '/tmp/go', GOFLAGS: '-mod=mod' };
const trusting = (ca: string): Record<string, string> => {
  const names = ['CURL_CA_BUNDLE', 'SSL_CERT_FILE', 'NODE_EXTRA_CA_CERTS', 'npm_config_cafile', 'PIP_CERT'];
  return {
    CA: ca,
    ...Object.fromEntries([...names, 'REQUESTS_CA_BUNDLE'].map((name) => [name, '/tmp/ca.pem'])),
  };
};

const lacksNode = lacks('/usr/bin/node', 'nodejs');
const lacksNewNode = lacksNode || isOlderThan(20);

/** Of the Node that a sandbox sees, which need not be the server's. */
function isOlderThan(major: number): string | false {
  const version = execFileSync('/usr/bin/node', ['-p', 'process.versions.node'], { encoding: 'utf8' });
  return Number.parseInt(version, 10) < major && `needs Node ${major} at /usr/bin/node`;
}

const programs: readonly Program[] = [
  {
    name: 'curl',
    skip: lacks('/usr/bin/curl', 'curl'),
    script: 'curl -sS --fail --max-time 10 ADDRESS',
    says: /^at \/open/m,
    denied: { status: 6, says: /could not resolve host/i },
  },
  {
    name: 'wget',
    skip: lacks('/usr/bin/wget', 'wget'),
    script: 'wget --tries=1 --timeout=10 --ca-certificate=/tmp/ca.pem -O - ADDRESS',
    inside: 'wget --tries=1 --timeout=10 -O - ADDRESS',
    says: /^at \/open/m,
    denied: { status: 4, says: /unable to resolve/i },
  },
  {
    name: 'Python urllib',
    skip: lacks('/usr/bin/python3', 'python3'),
    script: `python3 -c 'import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1], timeout=10).read().decode())' ADDRESS`,
    says: /^at \/open/m,
    denied: { status: 1, says: /Name or service not known/ },
  },
  {
    name: 'Node fetch',
    skip: lacksNode,
    script: `${node('fetch(process.argv[1]).then((a) => a.text()).then(console.log, (e) => { console.error(e.cause.code); process.exit(1); })')} ADDRESS`,
    says: /^at \/open/m,
    denied: { status: 1, says: /ENOTFOUND/ },
  },
  {
    name: 'node:http2',
    skip: lacksNode,
    script: `${node(http2Program)} ADDRESS`,
    url: `https://HOST:${http2Port}/`,
    says: /^by HTTP\/2/m,
    denied: { status: 1, says: /ENOTFOUND/ },
  },
  ...['ws', 'wss'].map((scheme) => ({
    name: `a WebSocket over ${scheme}`,
    skip: lacksNewNode,
    script: `${node(webSocketProgram, '--experimental-websocket')} ADDRESS`,
    url: `${scheme}://HOST/open/socket`,
    says: /^said back/m,
    denied: { status: 1, says: /no connection/ },
  })),
  {
    name: "Go's net/http",
    skip: lacks('/usr/bin/go', 'golang-go'),
    script: 'printf %s "$GO" > /tmp/main.go && cd /tmp && go build -o get main.go && ./get ADDRESS',
    says: /^at \/open/m,
    denied: { status: 1, says: /no such host/ },
  },
  {
    name: "Java's HttpClient",
    skip: lacks('/usr/bin/javac', 'default-jdk-headless'),
    script:
      'printf %s "$JAVA" > /tmp/Main.java && keytool -importcert -noprompt -file /tmp/ca.pem -keystore /tmp/trust -storepass changeit 2>/dev/null && java -Djavax.net.ssl.trustStore=/tmp/trust -Djavax.net.ssl.trustStorePassword=changeit /tmp/Main.java ADDRESS',
    inside: 'printf %s "$JAVA" > /tmp/Main.java && java /tmp/Main.java ADDRESS',
    says: /^at \/open/m,
    denied: { status: 1, says: /UnresolvedAddress|ConnectException/ },
  },
];

const isOverTls = ({ url }: Program) => url?.startsWith('ws:') !== true;

/** The same site, looked into. */
const inside: PutPolicy['document'] = {
  rules: [
    { host: 'site.example', ports: [443, http2Port], methods: ['GET'], paths: ['/', '/open', '/open/**'] },
  ],
};

describe('G4 with real programs', { skip }, () => {
  let internet: FakeInternet;
  let sites: StubSites;
  let instance: Instance;
  let ca: string;
  const npm = npmRegistry('pino');
  const [model] = presetHosts(agent.preset);

  before(async () => {
    const [registry] = presetHosts('npm');
    const [debian] = presetHosts('debian');
    const names = [
      ...presetHosts('npm'),
      ...presetHosts('pypi'),
      ...presetHosts('debian'),
      model!,
      'site.example',
    ];
    internet = await FakeInternet.open({
      ...Object.fromEntries(names.map((name) => [name, [[stubAddress]]])),
      'denied.example': [[places.other]],
    });
    sites = await StubSites.open(internet, {
      'site.example': ({ url }) => (url === '/agent.tgz' ? readFileSync(agent.file) : `at ${url}\n`),
      [registry!]: npm.site,
      ...(lacks('/usr/bin/python3', '') ? {} : pythonIndex()),
      [debian!]: debianRepository(),
      [model!]: modelApi,
    });
    ca = readFileSync(internet.caFile, 'utf8');
    instance = await startInstance({
      environment: { SEALWRIGHT_RESOLVERS: '127.0.0.1', SEALWRIGHT_EGRESS_CA_FILE: internet.caFile },
    });
    await instance.client.policies.put('web', { document: web });
    await instance.client.policies.put('inside', { document: inside });
  });

  after(async () => {
    await instance?.remove();
    sites?.close();
    internet?.close();
  });

  const runIn = (
    script: string,
    egress: readonly string[],
    env: Record<string, string>,
    session?: SessionId,
  ): Promise<Ran> =>
    runOnce(instance.client, sh(script), {
      ...(session !== undefined && { session }),
      env,
      egress: [...egress],
      timeoutSeconds: 60,
    });

  /** Runs a script that trusts the fake internet itself, unless it is told what else to trust. */
  const inSandbox = async (
    script: string,
    egress: readonly string[],
    more: { env?: Record<string, string>; session?: SessionId } = {},
  ): Promise<Ran & { text: string }> => {
    const env = { ...trusting(ca), ...more.env };
    const { session } = more;
    const ran = await runIn(`printf %s "$CA" > /tmp/ca.pem; ${script}`, egress, env, session);
    return { ...ran, text: ran.stdout + ran.stderr };
  };

  /** The names that a run was denied, by its record. */
  const deniedOf = async (run: string): Promise<string[]> => {
    const { items } = await instance.client.runs.egress(run, { limit: 200 });
    const denied = items.filter(({ verdict }) => verdict === 'denied');
    return [...new Set(denied.map(({ host }) => host ?? 'an address'))];
  };

  const untouched = () => internet.arrivals.filter(({ at }) => at === places.other);

  for (const { name, skip, script, says, denied, url = 'https://HOST/open' } of programs)
    test(`${name} reaches what the policy allows, and fails by itself at what it does not`, {
      skip,
    }, async () => {
      const asks = (host: string) => script.replaceAll('ADDRESS', url.replace('HOST', host));
      const allowed = await inSandbox(asks('site.example'), ['web'], { env: sources });
      assert.equal(allowed.run.phase, 'succeeded', allowed.text);
      assert.match(allowed.stdout, says);
      assert.deepEqual(await deniedOf(allowed.run.id), []);
      const refused = await inSandbox(asks('denied.example'), ['web'], { env: sources });
      assert.deepEqual([refused.run.phase, refused.run.exitCode], ['failed', denied.status], refused.text);
      assert.match(refused.text, denied.says);
      assert.deepEqual(await deniedOf(refused.run.id), ['denied.example']);
      assert.deepEqual(untouched(), []);
    });

  for (const { name, skip, script, says, url = 'https://HOST/open', inside = script } of programs.filter(
    isOverTls,
  ))
    test(`${name} trusts the gateway that looks inside, which lets it to what the policy allows`, {
      skip,
    }, async () => {
      const address = url.replace('HOST', 'site.example');
      const asks = (what: string) => runIn(inside.replaceAll('ADDRESS', what), ['inside'], sources);
      const allowed = await asks(address);
      assert.equal(allowed.run.phase, 'succeeded', allowed.stdout + allowed.stderr);
      assert.match(allowed.stdout, says);
      const paths = (await instance.client.runs.egress(allowed.run.id, {})).items.map(({ path }) => path);
      assert(paths.includes(new URL(address).pathname), 'the request was seen');
      const refused = await asks(address.replace(/[/](open.*)?$/, '/closed'));
      assert.deepEqual(await deniedOf(refused.run.id), ['site.example']);
      assert(!sites.requests.some((line) => line.endsWith('/closed')));
    });

  for (const { name, skip, script, status } of [
    { name: 'curl', skip: lacks('/usr/bin/curl', 'curl'), script: 'curl -sS --fail-with-body', status: 22 },
    { name: 'wget', skip: lacks('/usr/bin/wget', 'wget'), script: 'wget --content-on-error -O -', status: 8 },
  ])
    test(`${name} is told 403 and why at a path that no rule allows`, { skip }, async () => {
      const allowed = await inSandbox(`${script} http://site.example/open/a`, ['web']);
      assert.equal(allowed.run.phase, 'succeeded', allowed.text);
      const refused = await inSandbox(`${script} http://site.example/closed`, ['web']);
      assert.equal(refused.run.exitCode, status, refused.text);
      assert.match(refused.stdout, /site\.example/);
      assert(!sites.requests.some((line) => line.endsWith('/closed')));
    });

  test('npm ci installs a package and all it needs from the registry that its preset names', {
    skip: lacksNode || lacks('/usr/bin/npm', 'npm'),
  }, async () => {
    const session = await repositorySession(instance.client, npm.files);
    const install = 'npm ci --fetch-retries=0 --no-audit --no-fund';
    const refused = await inSandbox(install, [], { session });
    assert.deepEqual([refused.run.phase, refused.run.exitCode], ['failed', 1], refused.text);
    assert.match(refused.text, /ENOTFOUND|EAI_AGAIN/);
    assert.deepEqual(await deniedOf(refused.run.id), presetHosts('npm'));
    const use = `node -e 'require("pino")().info("it logs")'`;
    const allowed = await inSandbox(`${install} && ls node_modules | wc -l && ${use}`, ['npm'], { session });
    assert.equal(allowed.run.phase, 'succeeded', allowed.text);
    assert.match(allowed.stdout, new RegExp(`^${npm.count}$`, 'm'));
    assert.match(allowed.stdout, /"msg":"it logs"/);
  });

  const lacksPip = lacks('/usr/lib/python3/dist-packages/pip', 'python3-pip');
  test('pip download gets a package with its preset, and nothing without', { skip: lacksPip }, async () => {
    const download = 'python3 -m pip download --retries 1 --no-cache-dir --dest /tmp/wheels stub-package';
    const refused = await inSandbox(download, ['web']);
    assert.deepEqual([refused.run.phase, refused.run.exitCode], ['failed', 1], refused.text);
    assert.match(refused.text, /Name or service not known/);
    const allowed = await inSandbox(`${download} && ls /tmp/wheels`, ['pypi']);
    assert.equal(allowed.run.phase, 'succeeded', allowed.text);
    assert.match(allowed.stdout, /^stub_package-1\.0-py3-none-any\.whl$/m);
  });

  test('apt-get updates and downloads over http with its preset, and fails without', {
    skip: lacks('/usr/bin/apt-get', 'apt'),
  }, async () => {
    const [debian] = presetHosts('debian');
    const script = [
      'mkdir -p /tmp/apt/etc /tmp/apt/state/lists/partial /tmp/apt/cache/archives/partial && : > /tmp/apt/status && cd /tmp',
      `echo "deb [trusted=yes] http://${debian}/debian ./" > /tmp/apt/etc/sources.list`,
      'apt() { apt-get -o Dir=/tmp/apt -o Dir::Etc=/tmp/apt/etc -o Dir::State=/tmp/apt/state -o Dir::Cache=/tmp/apt/cache -o Dir::State::status=/tmp/apt/status -o Dir::Bin::Methods=/usr/lib/apt/methods -o Acquire::Retries=0 -o APT::Update::Error-Mode=any "$@"; }',
      'apt update && apt download stub-package && cat stub-package*.deb',
    ].join('\n');
    const refused = await inSandbox(script, ['web']);
    assert.deepEqual([refused.run.phase, refused.run.exitCode], ['failed', 100], refused.text);
    assert.match(refused.text, /could not resolve/i);
    const allowed = await inSandbox(script, ['debian']);
    assert.equal(allowed.run.phase, 'succeeded', allowed.text);
    assert.match(allowed.stdout, /^what apt only carries$/m);
  });

  test(`an agent from npm (${agent.package}) speaks with its model and with nobody else`, {
    skip: lacksNewNode || notFetched(agent.file),
  }, async () => {
    const settings = JSON.stringify({ general: { maxAttempts: 1, retryFetchErrors: false } });
    const script = [
      `mkdir ~/.gemini && echo '${settings}' > ~/.gemini/settings.json`,
      'curl -sS https://site.example/agent.tgz | tar xz -C /tmp',
      'node /tmp/package/bundle/gemini.js --skip-trust --model gemini-2.5-flash --prompt "say it"',
    ].join(' && ');
    const env = { GEMINI_API_KEY: 'stub' };
    const allowed = await inSandbox(script, ['web', agent.preset], { env });
    assert.equal(allowed.run.phase, 'succeeded', allowed.text);
    assert.match(allowed.stdout, /the stub has spoken/);
    assert(sites.requests.some((line) => line.startsWith(`POST https://${model}/`)));
    assert((await deniedOf(allowed.run.id)).every((name) => name === agent.tellsToo));
    const refused = await inSandbox(script, ['web'], { env });
    assert.deepEqual([refused.run.phase, refused.run.exitCode], ['failed', 1], refused.text);
    assert.match(refused.text, /fetch failed/);
    assert((await deniedOf(refused.run.id)).includes(model!));
  });
});

/** A model that always says the same, as that API streams it. */
function modelApi({ url }: { readonly url?: string | undefined }): string | null {
  const answer = {
    candidates: [
      {
        content: { role: 'model', parts: [{ text: 'the stub has spoken' }] },
        finishReason: 'STOP',
        index: 0,
      },
    ],
    usageMetadata: { promptTokenCount: 1, candidatesTokenCount: 4, totalTokenCount: 5 },
  };
  if (url?.includes(':streamGenerateContent') === true) return `data: ${JSON.stringify(answer)}\n\n`;
  return url?.includes(':generateContent') === true ? JSON.stringify(answer) : null;
}
