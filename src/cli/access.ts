import type { Command } from 'commander';
import type { AccessExplanationView, ExplainAccess } from '../contract/access-schemas.ts';
import { parseActorId } from '../model/actor.ts';
import { defineAccessPolicies } from './access-policies.ts';
import { asOwner } from './as-owner.ts';
import { type Context, print } from './context.ts';
import { defineElevations } from './elevations.ts';
import { escapeLine } from './escape.ts';
import { exitStatus, UsageFailure } from './failure.ts';
import { localHelp } from './shown.ts';

type ExplainFlags = { address?: string; json?: boolean; local?: boolean };

export function defineAccess(program: Command, context: Context): void {
  const access = program
    .command('access')
    .summary('say who may do what, and why')
    .description('Access: policies beside those that ship, explanations, and roles for a time.');
  access
    .command('explain')
    .description(
      'Says whether an actor may do something, by which policies, and what is missing. Ends with 0 where it may, with 1\n' +
        'where not. Everybody may ask about themselves, with "me".',
    )
    .argument('<actor>', 'such as user:ada, or me')
    .argument('<action>', 'such as run.stop')
    .argument(
      '[resource]',
      'an id, or such as policy:web, user:ada or team:red; all of the kind where absent',
    )
    .option('--address <address>', 'where the request would come from (default: where this one does)')
    .option('--json', 'print the whole answer as JSON')
    .option('--local', localHelp)
    .action(
      async (...[actor, action, resource, flags]: [string, string, string | undefined, ExplainFlags]) => {
        const request = explainRequest(actor, action, resource, flags);
        const ask = flags.local === true || actor !== 'me' ? asOwner : asOneself;
        const answer = await ask(context, flags, (api) => api.accessPolicies.explain(request));
        context.status = answer.allow ? exitStatus.ok : exitStatus.failure;
        const text = flags.json === true ? JSON.stringify(answer, null, 2) : explanationText(answer);
        await print(context.environment, `${text}\n`);
      },
    );
  defineAccessPolicies(access, context);
  defineElevations(access, context);
}

/** Whoever asks about themselves is not answered about the owner of the data folder instead. */
const asOneself: typeof asOwner = async (context, _flags, call) => await call(await context.connect());

function explainRequest(
  actor: string,
  action: string,
  resource: string | undefined,
  { address }: ExplainFlags,
): ExplainAccess {
  const id = actor === 'me' ? undefined : parseActorId(actor);
  if (id === null)
    throw new UsageFailure(
      `"${actor}" is nobody`,
      'Name user:<name>, agent:<name> or service:<name>, or me.',
    );
  return {
    ...(id === undefined ? {} : { actor: id }),
    action,
    ...(resource === undefined ? {} : { resource }),
    ...(address === undefined ? {} : { address }),
  };
}

function explanationText({
  actor,
  action,
  resource,
  allow,
  rule,
  determining,
  missing,
}: AccessExplanationView): string {
  const on = resource.id === null ? `every ${resource.kind}` : `${resource.kind} ${resource.id}`;
  const policies = determining.map(({ id, label }) => (label === null ? id : `${id} (${label})`));
  return [
    `${actor} ${allow ? 'may' : 'may not'} ${action} on ${on}, by ${rule}`,
    ...policies.map((policy) => `  decided by ${policy}`),
    ...missing.map((what) => `  missing: ${what}`),
  ]
    .map(escapeLine)
    .join('\n');
}
