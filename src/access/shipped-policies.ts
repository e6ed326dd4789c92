import { formatCidr } from '../model/ip-address.ts';
import { type GrantableScope, scopes } from '../model/scopes.ts';
import { type ClientNetwork, type ClientNetworks, networkScopes } from './client-networks.ts';
import { accountGroup, literal } from './schema.ts';

/** A policy that ships. `groups` are the groups of acts that it can be about; null for all. */
export type ShippedPolicy = {
  readonly id: string;
  readonly text: string;
  readonly groups: readonly string[] | null;
};

/** The resource is nobody's, the actor's own, its team's, or the actor reaches everything. */
const inReach = [
  '(!(resource has owner) && !(resource has team)) ||',
  'principal.reach == "all" ||',
  '(resource has owner && resource.owner == principal.id) ||',
  '(principal.reach == "team" && resource has team && principal.teams.contains(resource.team))',
].join('\n  ');

const ownAccount = 'principal.signedIn && resource has owner && resource.owner == principal.id';

/**
 * The rule of roles as policies: an act is permitted to who holds its scope and reaches the resource, and acts of an
 * account to the person who signed in to it. The forbids hold against whatever administrators permit: nobody acts on
 * another's account, a narrowed credential stays narrow, and client networks stay closed.
 */
export function shippedPolicies(networks: ClientNetworks): readonly ShippedPolicy[] {
  return [
    ...scopes.map(permitScope),
    {
      id: 'scope:*',
      groups: null,
      text: `permit (principal, action, resource)\nwhen { principal.scopes.contains("*") }\nunless { ${groupIs(accountGroup)} }\nwhen {\n  ${inReach}\n};`,
    },
    {
      id: 'account:own',
      groups: [accountGroup],
      text: `permit (principal, ${groupIs(accountGroup)}, resource)\nwhen { ${ownAccount} };`,
    },
    {
      id: 'account:foreign',
      groups: [accountGroup],
      text: `forbid (principal, ${groupIs(accountGroup)}, resource)\nunless { ${ownAccount} };`,
    },
    ...scopes.map(forbidBeyondScope),
    {
      id: 'narrowed:reach',
      groups: null,
      text: `forbid (principal, action, resource)\nwhen { principal.narrowed }\nunless {\n  ${inReach}\n};`,
    },
    ...(['administration', 'attach'] as const).flatMap((kind) => forbidElsewhere(kind, networks[kind])),
  ].map((policy) => ({ ...policy, text: `@id(${literal(policy.id)})\n${policy.text}` }));
}

function groupIs(group: string): string {
  return `action in Action::${literal(group)}`;
}

function permitScope(scope: GrantableScope): ShippedPolicy {
  const held = `principal.scopes.contains(${literal(scope)})`;
  const head = `permit (principal, ${groupIs(scope)}, resource)`;
  const text = `${head}\nwhen { ${held} }\nwhen {\n  ${inReach}\n};`;
  return { id: `scope:${scope}`, groups: [scope], text };
}

function forbidBeyondScope(scope: GrantableScope): ShippedPolicy {
  const held = `principal.scopes.contains(${literal(scope)}) || principal.scopes.contains("*")`;
  const head = `forbid (principal, ${groupIs(scope)}, resource)`;
  return {
    id: `narrowed:${scope}`,
    groups: [scope],
    text: `${head}\nwhen { principal.narrowed }\nunless { ${held} };`,
  };
}

function forbidElsewhere(
  kind: 'administration' | 'attach',
  networks: readonly ClientNetwork[],
): ShippedPolicy[] {
  if (networks.length === 0) return [];
  const groups = networkScopes[kind];
  const list = groups.map((scope) => `Action::${literal(scope)}`).join(', ');
  const from = [...Map.groupBy(networks, ({ role }) => role)].map(([role, ofRole]) => {
    const ranges = ofRole.map(({ network }) => `context.address.isInRange(ip("${formatCidr(network)}"))`);
    const within = `(${ranges.join(' || ')})`;
    return role === null ? within : `(principal has role && principal.role == ${literal(role)} && ${within})`;
  });
  return [
    {
      id: `network:${kind}`,
      groups,
      text: `forbid (principal, action in [${list}], resource)\nunless { context.local }\nunless {\n  context has address && (\n    ${from.join(' ||\n    ')}\n  )\n};`,
    },
  ];
}

/** The set as one text, for people. */
export function shippedText(networks: ClientNetworks): string {
  return `${shippedPolicies(networks)
    .map(({ text }) => text)
    .join('\n\n')}\n`;
}
