import { resolve } from 'node:path';
import type { Command } from 'commander';
import type { PolicyDocument } from '../contract/policy.ts';
import type { PolicySummaryView } from '../contract/schemas.ts';
import type { EgressRule } from '../model/egress.ts';
import { type Context, note, print } from './context.ts';
import { escapeLine } from './escape.ts';
import { CliFailure, exitStatus, UsageFailure } from './failure.ts';
import { lineDiff } from './line-diff.ts';
import { askedLimit, collect } from './listing.ts';
import { parseWhole } from './quantities.ts';
import { age } from './runs.ts';
import { type Column, listFormat, renderList } from './table.ts';
import { toYaml } from './yaml.ts';
import type { FileProblem } from './yaml-file.ts';

type PutFlags = { reason?: string; team?: string | false; json?: boolean };
type Format = { output?: string; json?: boolean };

export function definePolicy(program: Command, context: Context): void {
  const policy = program
    .command('policy')
    .summary('write and read what runs may reach')
    .description('Egress policies: what runs may reach, by name. See sealwright run --egress.');
  defineChanges(policy, context);
  policy
    .command('get')
    .description('Prints the document of a policy.')
    .argument('<name>')
    .option('--generation <number>', 'as it was then')
    .option('-o, --output <format>', 'yaml or json (default: yaml)')
    .option('--json', 'the same as -o json')
    .action(async (name: string, flags: Format & { generation?: string }) => await get(context, name, flags));
  policy
    .command('ls', { isDefault: true })
    .description('Lists policies.')
    .option('--limit <number>', 'how many at most (default: 50)')
    .option('--all', 'all there are')
    .option('-o, --output <format>', 'table, json or yaml')
    .option('--json', 'the same as -o json')
    .action(async (flags: Format & { limit?: string; all?: boolean }) => await list(context, flags));
  defineFiles(policy, context);
}

function defineChanges(policy: Command, context: Context): void {
  policy
    .command('put')
    .description(
      'Makes or replaces a policy from a file of YAML or JSON. Live runs that name it follow at once.',
    )
    .argument('<name>')
    .argument('<file>')
    .option('--reason <text>', 'why, for whoever reads its history')
    .option('--team <name>', 'a team of yours, whose members alone then see and use it')
    .option('--no-team', 'for everybody who may read policies')
    .option('--json', 'print the whole answer as JSON')
    .action(async (name: string, file: string, flags: PutFlags) => await put(context, name, file, flags));
  policy
    .command('rm')
    .description('Removes policies; their history stays, and live runs that name them lose their rules.')
    .argument('<name...>')
    .option('--json', 'print the names as JSON')
    .action(async (names: string[], flags: { json?: boolean }) => {
      const api = await context.connect();
      for (const name of names) {
        await api.policies.remove(name);
        if (flags.json !== true) await print(context.environment, `${escapeLine(name)}\n`);
      }
      if (flags.json === true) await print(context.environment, `${JSON.stringify(names)}\n`);
    });
}

function defineFiles(policy: Command, context: Context): void {
  policy
    .command('diff')
    .description(
      'Prints what putting a file would change. Ends with 0 where nothing, with 1 where something.',
    )
    .argument('<name>')
    .argument('<file>')
    .option('--json', 'print both documents as JSON')
    .action(
      async (name: string, file: string, flags: { json?: boolean }) =>
        await diff(context, name, file, flags.json === true),
    );
  policy
    .command('check')
    .description('Says whether a file is a policy that can be enforced, without a server.')
    .argument('<file>')
    .option('--json', 'print the compiled rules, or what is wrong, as JSON')
    .action(
      async (file: string, flags: { json?: boolean }) => await check(context, file, flags.json === true),
    );
}

/** The policy of a file; what is wrong with it is said line by line. Throws CliFailure. */
export async function readPolicy(
  context: Context,
  file: string,
  name: string,
): Promise<{ document: PolicyDocument; rules: readonly EgressRule[] }> {
  const { environment } = context;
  // Loaded when it is needed: YAML and schemas take longer to load than most commands to run.
  const { readPolicyFile } = await import('./policy-file.ts');
  const read = await readPolicyFile(resolve(environment.cwd, file), name);
  if ('document' in read) return read;
  for (const problem of read.problems) await note(environment, problemText(file, problem));
  throw new CliFailure(`${file} is not a policy that can be enforced.`);
}

function problemText(file: string, { path, message, line, column }: FileProblem): string {
  return `${file}:${line}:${column}: ${path === '' ? '' : `${path} `}${message}`;
}

async function get(context: Context, name: string, flags: Format & { generation?: string }): Promise<void> {
  const { generation } = flags;
  const format = flags.json === true ? 'json' : (flags.output ?? 'yaml');
  if (format !== 'yaml' && format !== 'json') throw new UsageFailure('-o takes yaml or json');
  const query = generation === undefined ? {} : { generation: parseWhole(generation, '--generation') };
  const api = await context.connect();
  const { document, reason, ...policy } = await api.policies.get(name, query);
  if (format === 'json') return await print(context.environment, `${JSON.stringify(document, null, 2)}\n`);
  const why = reason === null ? '' : `: ${escapeLine(reason)}`;
  const head = `# ${policy.name}, generation ${policy.generation}, ${policy.author} at ${policy.createdAt}${why}`;
  await print(context.environment, `${head}\n${toYaml(document)}`);
}

async function put(context: Context, name: string, file: string, flags: PutFlags): Promise<void> {
  const { document } = await readPolicy(context, file, name);
  const { reason, team } = flags;
  const api = await context.connect();
  const made = await api.policies.put(name, {
    document,
    ...(reason === undefined ? {} : { reason }),
    ...(team === undefined ? {} : { team: team === false ? null : team }),
  });
  const shown = flags.json === true ? JSON.stringify(made, null, 2) : `${made.name} ${made.generation}`;
  await print(context.environment, `${shown}\n`);
}

async function list(context: Context, flags: Format & { limit?: string; all?: boolean }): Promise<void> {
  const format = listFormat(flags);
  const limit = askedLimit(flags);
  const api = await context.connect();
  const items = await collect(api.policies.list, {}, limit);
  const { clock } = context.environment;
  const columns: readonly Column<PolicySummaryView>[] = [
    { title: 'POLICY', of: ({ name }) => name },
    { title: 'GENERATION', of: ({ generation }) => String(generation) },
    { title: 'TEAM', of: ({ team }) => team ?? 'everybody' },
    { title: 'AUTHOR', of: ({ author }) => author },
    { title: 'AGE', of: ({ createdAt }) => age(createdAt, clock) },
    { title: 'REASON', of: ({ reason }) => reason ?? '-' },
  ];
  await print(context.environment, renderList(items, columns, format));
}

async function diff(context: Context, name: string, file: string, json: boolean): Promise<void> {
  const { environment } = context;
  const read = await readPolicy(context, file, name);
  const { formatDocument } = await import('../contract/policy.ts');
  const api = await context.connect();
  const { document, generation } = await api.policies.get(name);
  const [before, after] = [formatDocument(document), formatDocument(read.document)];
  const lines = lineDiff(toYaml(before), toYaml(after));
  context.status = lines === null ? exitStatus.ok : exitStatus.failure;
  if (json) return await print(environment, `${JSON.stringify({ before, after }, null, 2)}\n`);
  if (lines === null) return;
  const head = [`--- ${name}, generation ${generation}`, `+++ ${file}`];
  await print(environment, `${[...head, ...lines].map(escapeLine).join('\n')}\n`);
}

async function check(context: Context, file: string, json: boolean): Promise<void> {
  const { environment } = context;
  if (json) {
    const { readPolicyFile } = await import('./policy-file.ts');
    const read = await readPolicyFile(resolve(environment.cwd, file), 'policy');
    if ('problems' in read) context.status = exitStatus.failure;
    const shown = 'problems' in read ? { ok: false, ...read } : { ok: true, ...enforced(read) };
    return await print(environment, `${JSON.stringify(shown, null, 2)}\n`);
  }
  const { rules, limits } = enforced(await readPolicy(context, file, 'policy'));
  const named = Object.entries(limits).map(([name, limit]) => `, ${name} ${limit}`);
  await print(environment, `${escapeLine(file)} can be enforced: ${rules.length} rules${named.join('')}\n`);
}

function enforced({ document, rules }: { document: PolicyDocument; rules: readonly EgressRule[] }) {
  return { rules, limits: document.limits ?? {} };
}
