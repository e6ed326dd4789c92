import { resolve } from 'node:path';
import type { Command } from 'commander';
import type { AccessPolicySummaryView } from '../contract/access-schemas.ts';
import { asOwner } from './as-owner.ts';
import { type Context, print, printUntrusted } from './context.ts';
import { escapeLine } from './escape.ts';
import { exitStatus } from './failure.ts';
import { lineDiff } from './line-diff.ts';
import { askedLimit, collect } from './listing.ts';
import { parseWhole } from './quantities.ts';
import { age } from './runs.ts';
import { localHelp, type Shown, withFormat } from './shown.ts';
import { type Column, listFormat, renderList } from './table.ts';

type Local = { local?: boolean };

export function defineAccessPolicies(access: Command, context: Context): void {
  const policies = access
    .command('policies')
    .summary('permit and forbid beside what ships')
    .description('Administrators’ policies, in Cedar. A forbid wins against every permit.');
  defineLists(policies, context);
  defineTexts(policies, context);
  defineChanges(policies, context);
}

function defineLists(policies: Command, context: Context): void {
  withFormat(
    policies
      .command('ls', { isDefault: true })
      .description('Lists policies.')
      .option('--shipped', 'print the policies that ship, as Cedar text')
      .option('--schema', 'print what policies may speak of, as a Cedar schema'),
  ).action(async (flags: Shown & { shipped?: boolean; schema?: boolean }) => {
    if (flags.shipped !== true && flags.schema !== true) {
      const { items } = await asOwner(context, flags, (api) => api.accessPolicies.list());
      return await print(context.environment, renderList(items, columns(context), listFormat(flags)));
    }
    const shipped = await asOwner(context, flags, (api) => api.accessPolicies.shipped());
    const text = flags.json === true ? `${JSON.stringify(shipped, null, 2)}\n` : null;
    await print(context.environment, text ?? (flags.schema === true ? shipped.schema : shipped.policies));
  });
  withFormat(
    policies
      .command('history')
      .description('Lists every generation of a policy, newest first, removals too.')
      .argument('<name>')
      .option('--limit <number>', 'how many at most (default: 50)')
      .option('--all', 'all there are'),
  ).action(async (name: string, flags: Shown & { limit?: string; all?: boolean }) => {
    const limit = askedLimit(flags);
    const items = await asOwner(context, flags, (api) =>
      collect((query) => api.accessPolicies.history(name, query), {}, limit),
    );
    await print(context.environment, renderList(items, columns(context), listFormat(flags)));
  });
}

function columns({ environment: { clock } }: Context): readonly Column<AccessPolicySummaryView>[] {
  return [
    { title: 'POLICY', of: ({ name }) => name },
    { title: 'GENERATION', of: ({ generation, removed }) => `${generation}${removed ? ' removed' : ''}` },
    { title: 'AUTHOR', of: ({ author }) => author },
    { title: 'AGE', of: ({ createdAt }) => age(createdAt, clock) },
    { title: 'REASON', of: ({ reason }) => reason ?? '-' },
  ];
}

function defineTexts(policies: Command, context: Context): void {
  policies
    .command('get')
    .description('Prints the text of a policy.')
    .argument('<name>')
    .option('--generation <number>', 'as it was then')
    .option('--json', 'print the whole answer as JSON')
    .option('--local', localHelp)
    .action(async (name: string, flags: Shown & { generation?: string }) => {
      const { generation, json } = flags;
      const query = generation === undefined ? {} : { generation: parseWhole(generation, '--generation') };
      const policy = await asOwner(context, flags, (api) => api.accessPolicies.get(name, query));
      if (json === true) return await print(context.environment, `${JSON.stringify(policy, null, 2)}\n`);
      await printUntrusted(context.environment, withLineFeed(policy.text));
    });
  policies
    .command('diff')
    .description(
      'Prints what putting a file would change. Ends with 0 where nothing, with 1 where something.',
    )
    .argument('<name>')
    .argument('<file>')
    .option('--local', localHelp)
    .action(async (name: string, file: string, flags: Local) => {
      const text = await textOf(context, file);
      const policy = await asOwner(context, flags, (api) => api.accessPolicies.get(name));
      const lines = lineDiff(withLineFeed(policy.text), withLineFeed(text));
      context.status = lines === null ? exitStatus.ok : exitStatus.failure;
      if (lines === null) return;
      const head = [`--- ${name}, generation ${policy.generation}`, `+++ ${file}`];
      await print(context.environment, `${[...head, ...lines].map(escapeLine).join('\n')}\n`);
    });
}

function defineChanges(policies: Command, context: Context): void {
  policies
    .command('put')
    .description('Makes or replaces a policy from a file of Cedar text. It is in force when this ends.')
    .argument('<name>')
    .argument('<file>')
    .option('--reason <text>', 'why, for whoever reads its history')
    .option('--json', 'print the whole answer as JSON')
    .option('--local', localHelp)
    .action(async (name: string, file: string, flags: Local & { reason?: string; json?: boolean }) => {
      const { reason, json } = flags;
      const request = { text: await textOf(context, file), ...(reason === undefined ? {} : { reason }) };
      const made = await asOwner(context, flags, (api) => api.accessPolicies.put(name, request));
      const shown = json === true ? JSON.stringify(made, null, 2) : `${made.name} ${made.generation}`;
      await print(context.environment, `${shown}\n`);
    });
  policies
    .command('rm')
    .description('Removes policies; what they forbade they forbid no more. Their history stays.')
    .argument('<name...>')
    .option('--local', localHelp)
    .action(async (names: string[], flags: Local) => {
      for (const name of names) {
        await asOwner(context, flags, (api) => api.accessPolicies.remove(name));
        await print(context.environment, `${escapeLine(name)}\n`);
      }
    });
}

async function textOf({ environment }: Context, file: string): Promise<string> {
  const { readYamlText } = await import('./yaml-file.ts');
  return await readYamlText(resolve(environment.cwd, file), 'an access policy');
}

function withLineFeed(text: string): string {
  return text.endsWith('\n') ? text : `${text}\n`;
}
