import { resolve } from 'node:path';
import type { Command } from 'commander';
import type { FlagView } from '../contract/flags-schemas.ts';
import { type FlagRule, type FlagStage, flagNames } from '../model/flags.ts';
import { type Context, note, print } from './context.ts';
import { escapeLine } from './escape.ts';
import { CliFailure, exitStatus, UsageFailure } from './failure.ts';
import { parseWhole } from './quantities.ts';
import { age } from './runs.ts';
import { type Column, listFormat, renderList, renderObject } from './table.ts';
import type { FileProblem } from './yaml-file.ts';

type Format = { output?: string; json?: boolean };
type SetFlags = { admins?: boolean; team?: string[]; percentage?: string; json?: boolean };

export function defineFlags(program: Command, context: Context): void {
  const flags = program
    .command('flags')
    .summary('open features to some, or to all')
    .description(
      'Feature flags. Every one is off until it is set here or in the server’s flags file, which wins: see flagsFile.',
    );
  defineReads(flags, context);
  defineChanges(flags, context);
  flags
    .command('check')
    .description('Says whether the server would understand a flags file, without a server.')
    .argument('<file>')
    .option('--json', 'print the rules, or what is wrong, as JSON')
    .action(async (file: string, given: Format) => await check(context, file, given.json === true));
}

function defineReads(flags: Command, context: Context): void {
  flags
    .command('ls', { isDefault: true })
    .description('Lists flags: to whom each is open and who says so.')
    .option('-o, --output <format>', 'table, json or yaml')
    .option('--json', 'the same as -o json')
    .action(async (given: Format) => await list(context, given));
  flags
    .command('get')
    .description('Prints one flag.')
    .argument('<name>')
    .option('-o, --output <format>', 'table, json or yaml')
    .option('--json', 'the same as -o json')
    .action(async (name: string, given: Format) => {
      const flag = await (await context.connect()).flags.get(name);
      const { rule, set, ...rest } = flag;
      const shown = { ...rest, rule: ruleText(rule), ...(set === null ? {} : setText(set)) };
      const format = listFormat(given);
      await print(context.environment, renderObject(format === 'table' ? shown : flag, format));
    });
  flags
    .command('why')
    .description(
      'Says whether a feature is on for an actor, and why. Ends with 0 where it is, with 1 where not.',
    )
    .argument('<name>')
    .requiredOption('--actor <actor>', 'such as user:ada')
    .option('--json', 'print the whole answer as JSON')
    .action(async (name: string, { actor, json }: { actor: string; json?: boolean }) => {
      const answer = await (await context.connect()).flags.explain(name, { actor });
      context.status = answer.on ? exitStatus.ok : exitStatus.failure;
      const said = `${name} is ${answer.on ? 'on' : 'off'} for ${actor}: ${reasonText(answer)}`;
      const shown = json === true ? JSON.stringify(answer, null, 2) : escapeLine(said);
      await print(context.environment, `${shown}\n`);
    });
}

function defineChanges(flags: Command, context: Context): void {
  flags
    .command('set')
    .description(
      'Opens a feature: to all with on, to none with off, or in stages, to whom any of the options names.',
    )
    .argument('<name>')
    .argument('[word]', 'on or off')
    .option('--admins', 'to administrators')
    .option('--team <name>', 'to the members of a team (repeatable)', (value, before: string[] = []) => [
      ...before,
      value,
    ])
    .option('--percentage <number>', 'to this share of all actors, always the same ones')
    .option('--json', 'print the whole answer as JSON')
    .action(async (name: string, word: string | undefined, given: SetFlags) => {
      const rule = flagRuleOf(word, given);
      const made = await (await context.connect()).flags.put(name, { rule });
      const shown =
        given.json === true ? JSON.stringify(made, null, 2) : `${made.name} ${ruleText(made.rule)}`;
      await print(context.environment, `${escapeIfLine(shown, given)}\n`);
      if (made.source === 'file')
        await note(
          context.environment,
          'this changes nothing yet: the server’s flags file says otherwise, and wins',
        );
    });
  flags
    .command('rm')
    .description('Unsets flags: each is off where the server’s flags file does not name it.')
    .argument('<name...>')
    .option('--json', 'print the names as JSON')
    .action(async (names: string[], { json }: Format) => {
      const api = await context.connect();
      for (const name of names) {
        await api.flags.remove(name);
        if (json !== true) await print(context.environment, `${escapeLine(name)}\n`);
      }
      if (json === true) await print(context.environment, `${JSON.stringify(names)}\n`);
    });
}

function escapeIfLine(text: string, { json }: Format): string {
  return json === true ? text : escapeLine(text);
}

/** The rule that the words of `flags set` ask for. Throws UsageFailure. */
export function flagRuleOf(word: string | undefined, given: SetFlags): FlagRule {
  const { admins, team, percentage } = given;
  const stages: FlagStage[] = [
    ...(admins === true ? (['admins'] as const) : []),
    ...(team === undefined ? [] : [{ teams: [...new Set(team)] }]),
    ...(percentage === undefined ? [] : [{ percentage: percentageOf(percentage) }]),
  ];
  if (word === undefined && stages.length > 0) return stages;
  if ((word === 'on' || word === 'off') && stages.length === 0) return word;
  throw new UsageFailure('A flag is set on, off, or with --admins, --team and --percentage');
}

function percentageOf(text: string): number {
  const percentage = parseWhole(text, '--percentage');
  if (percentage < 0 || percentage > 100) throw new UsageFailure('--percentage takes 0 to 100');
  return percentage;
}

async function list(context: Context, given: Format): Promise<void> {
  const format = listFormat(given);
  const { items, problems } = await (await context.connect()).flags.list();
  const { environment } = context;
  const columns: readonly Column<FlagView>[] = [
    { title: 'FLAG', of: ({ name }) => name },
    { title: 'RULE', of: ({ rule }) => ruleText(rule) },
    { title: 'SOURCE', of: ({ source }) => source },
    { title: 'SET', of: ({ set }) => (set === null ? '-' : ruleText(set.rule)) },
    { title: 'BY', of: ({ set }) => set?.author ?? '-' },
    { title: 'AGE', of: ({ set }) => (set === null ? '-' : age(set.changedAt, environment.clock)) },
    { title: 'OPENS', of: ({ opens, problem }) => problem ?? opens ?? '-' },
  ];
  await print(environment, renderList(items, columns, format));
  for (const problem of problems) await note(environment, problem);
}

function setText(set: NonNullable<FlagView['set']>) {
  return { set: ruleText(set.rule), by: set.author, changedAt: set.changedAt };
}

function ruleText(rule: FlagRule | null): string {
  if (rule === null) return 'not understood';
  if (typeof rule === 'string') return rule;
  return rule
    .map((stage) => {
      if (stage === 'admins') return stage;
      return 'teams' in stage ? `teams ${stage.teams.join(', ')}` : `${stage.percentage} %`;
    })
    .join('; ');
}

function reasonText({ by, source, problem }: { by: string; source: string; problem: string | null }): string {
  const who = { file: 'the flags file', api: 'what was set', default: 'nobody set it' }[source] ?? source;
  if (problem !== null) return problem;
  if (source === 'default') return who;
  return by === 'none' ? `${who} names others` : `${who} says ${by}`;
}

async function check(context: Context, file: string, json: boolean): Promise<void> {
  const { environment } = context;
  // Loaded when it is needed: YAML and schemas take longer to load than most commands to run.
  const [{ parseYamlText, readYamlText }, { parseFlags }] = await Promise.all([
    import('./yaml-file.ts'),
    import('../contract/flags-schemas.ts'),
  ]);
  const yaml = parseYamlText(await readYamlText(resolve(environment.cwd, file), 'a file of flags'));
  const parsed = 'problems' in yaml ? yaml : parseFlags(yaml.value);
  const problems: readonly FileProblem[] =
    'rules' in parsed ? [] : 'problems' in yaml ? yaml.problems : yaml.locate(parsed.problems).problems;
  if (problems.length > 0) context.status = exitStatus.failure;
  const rules = 'rules' in parsed ? Object.fromEntries(parsed.rules) : {};
  if (json) {
    const shown = problems.length > 0 ? { ok: false, problems } : { ok: true, rules };
    return await print(environment, `${JSON.stringify(shown, null, 2)}\n`);
  }
  for (const { path, message, line, column } of problems)
    await note(environment, `${file}:${line}:${column}: ${path === '' ? '' : `${path} `}${message}`);
  if (problems.length > 0) throw new CliFailure(`With ${file} every flag would be off.`);
  const named = Object.entries(rules).map(([name, rule]) => `${name} ${ruleText(rule)}`);
  const said = named.length === 0 ? `no flag, of ${flagNames.length} there are` : named.join(', ');
  await print(environment, `${escapeLine(`${file} names ${said}`)}\n`);
}
