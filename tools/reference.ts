import { writeFileSync } from 'node:fs';
import { pino } from 'pino';
import { settingsReference } from '../src/main/settings.ts';
import { actionSpec } from '../src/model/actions.ts';
import type { RouteLine } from '../src/server/app.ts';
import { openServer } from '../src/server/server.ts';
import { openFakeControl, ownerActor } from '../tests/support/fake-control.ts';
import { accessFile, accessReference } from './access-reference.ts';
import { ocsfFile, ocsfReference } from './ocsf-reference.ts';

export const endpointsFile = new URL('../docs/reference/endpoints.md', import.meta.url);

export const configurationFile = new URL('../docs/reference/configuration.md', import.meta.url);

/** The page that lists every setting, from the table that `up` itself reads by. */
const commandLineVariables = [
  '## The command line',
  '',
  'What the other commands read from the environment, besides `SEALWRIGHT_HOME`:',
  '',
  '| variable | what it is |',
  '|---|---|',
  '| `SEALWRIGHT_URL` | the server, in place of the profile’s |',
  '| `SEALWRIGHT_TOKEN` | the token for it; never on a command line, where other users would read it |',
  '| `SEALWRIGHT_CA_FILE` | a file with certificates in PEM that an https server’s may be issued by, besides those that Node knows |',
  '| `SEALWRIGHT_ALLOW_HTTP` | `1` sends the token without TLS over a network, where the way there is safe |',
];

export function configurationReference(): string {
  return [
    '# Configuration',
    '',
    'Made by `node tools/reference.ts`. Flags of `sealwright up` go before the environment, that before `config.yaml` in the',
    'data folder, that before the default. A bad value stops the start with its name, its shape and the fix.',
    '`SEALWRIGHT_HOME` names the data folder: `/var/lib/sealwright` for root, else the XDG data folder.',
    '',
    settingsReference(),
    '',
    ...commandLineVariables,
    '',
  ].join('\n');
}

/** Every route, from the table that the server itself answers by. */
export async function allRoutes(): Promise<readonly RouteLine[]> {
  const server = await openServer({
    control: openFakeControl(),
    logger: pino({ level: 'silent' }),
    listen: { host: '127.0.0.1', port: 0 },
    localSocketPath: null,
    identity: { localOwner: ownerActor },
    version: 'reference',
  });
  await server.close();
  return server.routes;
}

/** The page that lists every route. */
export async function endpointsReference(): Promise<string> {
  return [
    '# Endpoints',
    '',
    'Made by `node tools/reference.ts`; `/api/v1/openapi.json` has the schemas.',
    '',
    '| method | path | scope | what it does |',
    '|---|---|---|---|',
    ...[...(await allRoutes())].sort(byPath).map(row),
    '',
  ].join('\n');
}

function byPath(a: RouteLine, b: RouteLine): number {
  return a.url === b.url ? compare(a.method, b.method) : compare(a.url, b.url);
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function row({ method, url, open, action, summary }: RouteLine): string {
  const scope = open ? 'none: open to all' : scopeOf(action);
  return `| ${method} | \`${url.replaceAll(/:(\w+)/g, '{$1}')}\` | ${scope} | ${summary} |`;
}

function scopeOf(action: RouteLine['action']): string {
  const needs = action === null ? null : actionSpec(action).needs;
  return needs === null ? 'any caller' : `\`${needs}\``;
}

if (import.meta.main) {
  writeFileSync(endpointsFile, await endpointsReference());
  writeFileSync(accessFile, accessReference(await allRoutes()));
  writeFileSync(configurationFile, configurationReference());
  writeFileSync(ocsfFile, ocsfReference());
}
