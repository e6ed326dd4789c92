import { accessLimits } from '../src/access/limits.ts';
import { accessRequestLimits } from '../src/contract/access-schemas.ts';
import { type ActionName, actionSpec, actions } from '../src/model/actions.ts';
import { type Role, roleReach, roles } from '../src/model/scopes.ts';
import type { RouteLine } from '../src/server/app.ts';

export const accessFile = new URL('../docs/reference/access.md', import.meta.url);

const roleNames = Object.keys(roles) as Role[];

/** The page about who may do what: how it is decided, and two tables from the tables that decide. */
export function accessReference(routes: readonly RouteLine[]): string {
  return [prose, actTable(), endpointIntroduction, endpointTable(routes), ''].join('\n');
}

/** How far a role may do an act: `all`, `team`, `own`, or not. */
function cellOf(role: Role, action: ActionName | null): string {
  const needs = action === null ? null : actionSpec(action).needs;
  if (needs === null) return action === null ? 'yes' : 'own';
  return (roles[role] as readonly string[]).includes(needs) ? roleReach[role] : '–';
}

function tableOf(columns: readonly string[], rows: readonly (readonly string[])[]): string {
  const lines = [columns, columns.map(() => '---'), ...rows];
  return lines.map((cells) => `| ${cells.join(' | ')} |`).join('\n');
}

function actTable(): string {
  const rows = (Object.keys(actions) as ActionName[]).map((action) => {
    const { needs, on, stepUp } = actionSpec(action);
    return [
      `\`${action}\``,
      on,
      needs === null ? 'own account' : `\`${needs}\``,
      stepUp === true ? 'yes' : '',
      ...roleNames.map((role) => cellOf(role, action)),
    ];
  });
  return tableOf(['act', 'on', 'group', 'fresh proof', ...roleNames], rows);
}

function endpointTable(routes: readonly RouteLine[]): string {
  const rows = routes
    .filter(({ open }) => !open)
    .toSorted((a, b) => (a.url < b.url ? -1 : a.url > b.url ? 1 : a.method < b.method ? -1 : 1))
    .map(({ method, url, action }) => [
      method,
      `\`${url.replaceAll(/:(\w+)/g, '{$1}')}\``,
      action === null ? '–' : `\`${action}\``,
      ...roleNames.map((role) => cellOf(role, action)),
    ]);
  return tableOf(['method', 'path', 'act', ...roleNames], rows);
}

const prose = `# Access

Made by \`node tools/reference.ts\`.

Every request is an **act** on something. It is allowed where a policy permits it and none forbids it. The policies that
ship say: whoever holds the scope of an act may do it to what it reaches. A role is a set of scopes and a reach: \`own\` is
what one made, \`team\` also what is shared with one's teams, \`all\` everything. What nobody owns is in everybody's reach.
What is out of reach answers exactly like what is not there. A person does as it likes with its own account, and nobody
with another's. \`sealwright access policies --shipped\` prints these policies.

## Roles and teams

\`roles put NAME --scope … --reach …\` makes a role; it holds no more than its maker does, and a change of it is in force
for everybody who has it at once. \`teams add TEAM ACTOR…\` makes a team. Those that ship cannot be changed.

## Your own policies

Administrators write \`permit\` and \`forbid\` beside what ships, in [Cedar](https://docs.cedarpolicy.com). A forbid wins
against every permit. Because a policy can permit anything, only who holds all that the role \`admin\` holds, with a reach of
\`all\`, changes them: \`identity:write\` alone is not enough. \`sealwright access policies put NAME FILE\` puts them in force, in every process, with the answer or
within a second; every change is a generation with its author and reason.

\`\`\`cedar
// Contractors work from the office.
@id("office")
forbid (principal, action, resource)
when { principal.teams.contains("contractors") }
unless { context.local || (context has address && context.address.isInRange(ip("10.8.0.0/16"))) };

// The deploy service reads what agents did.
permit (principal == Actor::"service:deploy", action in Action::"run:read", resource)
when { resource has owner && resource.owner like "agent:*" };

// Identities change only after a second factor.
forbid (principal, action in Action::"identity:write", resource)
when { principal.signedIn && !principal.mfa };
\`\`\`

| word | is |
|---|---|
| \`principal\` | \`Actor::"user:ada"\`; \`id\`, \`kind\` (user, agent, service, system), \`role\` (optional), \`scopes\`, \`reach\`, \`teams\`, \`narrowed\`, \`signedIn\`, \`mfa\` |
| \`action\` | \`Action::"run.stop"\`, or with \`in\` a group: \`Action::"run:write"\` is all that needs the scope, \`Action::"account"\` one's own account |
| \`resource\` | \`is Run\`, \`is AccessPolicy\` and so on; \`kind\`, and where there are any \`id\`, \`owner\`, \`team\`, \`session\`: ask with \`has\` first |
| \`context\` | \`local\` on the machine's own socket, else \`address\` |

\`sealwright access policies ls --schema\` prints the whole schema. A text that does not fit it is refused with the line and
column, and so are templates, policies that can never apply, text over ${accessLimits.textBytesMax / 1024} KiB, more than ${accessLimits.policiesPerDocumentMax} policies in one document and more
than ${accessLimits.policiesMax} in all. What a permit cannot do: widen a **narrowed** credential (API tokens, agents, services, runs,
exchanged tokens) in scope or in reach, or give anybody another's account. What a forbid cannot do: keep the owner of the
data folder, on the machine's own socket, from mending policies; \`--local\` uses it. Lists of
sessions, runs and egress policies leave out what a forbid keeps from being read, so a page may be short, even empty, and
not be the last; simulations leave out runs of which a forbid keeps \`egress.simulate\`; other lists are not searched for it:
forbid the list too. A denial names the document, never its text.

Where the stored policies cannot be used, a server does not start. Where a later change cannot be loaded, those before it
stay in force and \`/readyz\` says so.

\`sealwright access explain ACTOR ACT [RESOURCE]\` says who may do what, by which policies, and what is missing. Everybody may
ask about themselves (\`me\`), and with \`identity:read\` about others.

## A role for a time

An administrator says which roles a user may be elevated to. \`sealwright access elevate ROLE --reason … --for 1h\` then
gives it in place of the user's own, for ${accessRequestLimits.elevationSecondsMin / 60} minutes to ${accessRequestLimits.elevationSecondsMax / 3600} hours; with \`elevationApproval\` only after a second person, who
signed in and holds as much, says \`access elevations approve ID\`. \`access elevations end ID\` ends it before its time, by
its user or an administrator. All of it is on the record.

## Client networks

\`administrationNetworks\` keeps every act of \`identity:write\`, \`flag:write\` and \`incident:write\` to networks, \`attachNetworks\`
those of \`control:write\`, and \`signInNetworks\` signing in. An entry is \`CIDR\` for everybody or \`ROLE@CIDR\` for one role. An
empty list keeps nobody out; any other lets in only whom an entry is for, tokens without a role too. The machine's own
socket always may.

## Acts

What each role may do and how far. Policies name acts by these words and groups. Fresh proof: a person must have signed in
or proved itself again within the last minutes.
`;

const endpointIntroduction = `
## Endpoints

What each role may ask of the API. Everybody else, and whoever is out of reach, is answered 403 or 404.
`;
