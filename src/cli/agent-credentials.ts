import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import type { Command } from 'commander';
import type { AgentCredentialView } from '../contract/agents-schemas.ts';
import { type Context, note, print } from './context.ts';
import { escapeLine } from './escape.ts';
import { CliFailure } from './failure.ts';
import { connected, type Local, localHelp } from './local-way.ts';
import { parseDuration } from './quantities.ts';
import { age } from './runs.ts';
import { type Column, listFormat, renderList } from './table.ts';

type Format = { output?: string; json?: boolean };
type AddFlags = Local & { name?: string; expires?: string; json?: boolean };

export function defineAgentCredentials(agents: Command, context: Context): void {
  const credentials = agents
    .command('credentials')
    .summary('give agents secrets, keys and certificates, and revoke them')
    .description(
      'What agents and services prove themselves with. Several work at a time: add the next one, then revoke the last.',
    );
  credentials
    .command('ls', { isDefault: true })
    .description('Lists what an agent can prove itself with now; secrets are kept nowhere.')
    .argument('<agent>')
    .option('-o, --output <format>', 'table, json or yaml')
    .option('--json', 'the same as -o json')
    .option('--local', localHelp)
    .action(async (id: string, flags: Format & Local) => await list(context, id, flags));
  defineSecret(credentials, context);
  defineKey(credentials, context);
  defineCertificate(credentials, context);
  credentials
    .command('revoke')
    .description('Revokes credentials at once, with everything that came from them.')
    .argument('<agent>')
    .argument('<credential...>')
    .option('--local', localHelp)
    .action(async (id: string, revoked: string[], flags: Local) => {
      const api = await connected(context, flags);
      for (const credential of revoked) {
        await api.agents.revokeCredential(id, credential);
        await print(context.environment, `${escapeLine(credential)}\n`);
      }
    });
}

function defineSecret(credentials: Command, context: Context): void {
  credentials
    .command('add-secret')
    .description('Makes a client secret and prints it, once, on standard output.')
    .argument('<agent>')
    .requiredOption('--expires <duration>', 'how long it works, such as 90d; at most 366d')
    .option('--name <name>', 'what it is for')
    .option('--json', 'print the whole answer as JSON')
    .option('--local', localHelp)
    .action(async (id: string, flags: AddFlags) => {
      const expiresInSeconds = parseDuration(flags.expires ?? '', '--expires');
      const api = await connected(context, flags);
      const made = await api.agents.addSecret(id, { ...nameOf(flags), expiresInSeconds });
      const shown = flags.json === true ? JSON.stringify(made, null, 2) : made.secret;
      await print(context.environment, `${shown}\n`);
      await note(context.environment, `made ${made.id} for ${made.clientId}; it is not shown again`);
    });
}

function defineKey(credentials: Command, context: Context): void {
  credentials
    .command('add-key')
    .description('Takes the public key of a key pair that the agent signs assertions with (private_key_jwt).')
    .argument('<agent>')
    .argument('<file>', 'with the public key as a JWK')
    .option('--expires <duration>', 'how long it works; until it is revoked where absent')
    .option('--name <name>', 'what it is for')
    .option('--json', 'print the whole answer as JSON')
    .option('--local', localHelp)
    .action(async (id: string, file: string, flags: AddFlags) => {
      const jwk = parseJwk(file, await textOf(context, file));
      const api = await connected(context, flags);
      const made = await api.agents.addKey(id, { ...nameOf(flags), ...lifeOf(flags), jwk });
      const shown = flags.json === true ? JSON.stringify(made, null, 2) : made.id;
      await print(context.environment, `${shown}\n`);
    });
}

function defineCertificate(credentials: Command, context: Context): void {
  credentials
    .command('issue-certificate')
    .description('Issues a certificate for a key of the agent and prints it as PEM.')
    .argument('<agent>')
    .argument('<file>', 'with the certificate request as PEM')
    .option('--expires <duration>', 'how long it works (default: 1h); at most 24h')
    .option('--name <name>', 'what it is for')
    .option('--json', 'print the whole answer as JSON')
    .option('--local', localHelp)
    .action(async (id: string, file: string, flags: AddFlags) => {
      const request = await textOf(context, file);
      const api = await connected(context, flags);
      const made = await api.agents.issueCertificate(id, { ...nameOf(flags), ...lifeOf(flags), request });
      const shown = flags.json === true ? `${JSON.stringify(made, null, 2)}\n` : made.certificate;
      await print(context.environment, shown);
      await note(context.environment, `issued ${made.id}, valid until ${made.expiresAt}`);
    });
}

function nameOf({ name }: AddFlags) {
  return name === undefined ? {} : { name };
}

function lifeOf({ expires }: AddFlags) {
  return expires === undefined ? {} : { expiresInSeconds: parseDuration(expires, '--expires') };
}

async function textOf({ environment }: Context, file: string): Promise<string> {
  try {
    return await readFile(resolve(environment.cwd, file), 'utf8');
  } catch (error) {
    throw new CliFailure(`${file} cannot be read (${(error as NodeJS.ErrnoException).code}).`);
  }
}

/** What of it is no public key is for the server to say; a private one shall not even get there. */
function parseJwk(file: string, text: string): Record<string, unknown> {
  let value: unknown = null;
  try {
    value = JSON.parse(text);
  } catch {
    // Falls through to the refusal below.
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new CliFailure(`${file} is not a JWK: one JSON object that holds a public key.`);
  if ('d' in value || 'k' in value)
    throw new CliFailure(`${file} holds a private key, which nobody but the agent may have.`, {
      hint: 'Give the public half: the same object without its private members.',
    });
  return value as Record<string, unknown>;
}

async function list(context: Context, id: string, flags: Format & Local): Promise<void> {
  const format = listFormat(flags);
  const { items } = await (await connected(context, flags)).agents.credentials(id);
  const { clock } = context.environment;
  const columns: readonly Column<AgentCredentialView>[] = [
    { title: 'CREDENTIAL', of: (credential) => credential.id },
    { title: 'KIND', of: ({ kind }) => kind },
    { title: 'NAME', of: ({ name }) => name ?? '-' },
    { title: 'EXPIRES', of: ({ expiresAt }) => expiresAt ?? 'never' },
    {
      title: 'USED',
      of: ({ lastUsedAt }) => (lastUsedAt === null ? 'never' : `${age(lastUsedAt, clock)} ago`),
    },
    { title: 'THUMBPRINT', of: ({ thumbprint }) => thumbprint ?? '-' },
  ];
  await print(context.environment, renderList(items, columns, format));
}
