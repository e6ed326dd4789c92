import { type ActionName, actionSpec, actions, type ResourceKind, resourceKinds } from '../model/actions.ts';
import { scopes } from '../model/scopes.ts';

/** The group of the acts that ask for no scope: what everybody may do with their own account. */
export const accountGroup = 'account';

export const actionNames = Object.keys(actions) as ActionName[];

/** The group that an act is in: the scope it needs, so that policies can name all acts of a scope at once. */
export function groupOf(action: ActionName): string {
  return actionSpec(action).needs ?? accountGroup;
}

/** The Cedar type of a kind of resource: `access-policy` is `AccessPolicy`. */
export function entityType(kind: ResourceKind): string {
  return kind.replaceAll(/(?:^|-)([a-z])/g, (_, letter: string) => letter.toUpperCase());
}

/** A Cedar string literal; what it is made from has no control characters. */
export function literal(text: string): string {
  return `"${text.replaceAll(/["\\]/g, '\\$&')}"`;
}

/** What administrators' policies are validated against, made from the tables of acts and scopes. */
export const schemaText: string = [
  '// Who asks. "narrowed" says that the credential was given less than its bearer may do.',
  'entity Actor = {',
  '  id: String, // such as "user:ada"',
  '  kind: String, // "user", "agent", "service" or "system"',
  '  role?: String,',
  '  scopes: Set<String>,',
  '  reach: String, // "own", "team" or "all"',
  '  teams: Set<String>,',
  '  narrowed: Bool,',
  '  signedIn: Bool, // a person who signed in, not a token',
  '  mfa: Bool, // and by more than one factor',
  '};',
  '',
  '// What an act touches. Without an owner it is nobody’s, and a list as a whole.',
  `entity ${resourceKinds.map(entityType).join(', ')} = {`,
  '  kind: String,',
  '  id?: String,',
  '  owner?: String, // such as "user:ada"',
  '  team?: String, // the team that shares it',
  '  session?: String,',
  '};',
  '',
  '// "local" is the machine’s own socket, where there is no address.',
  'type Request = { local: Bool, address?: ipaddr };',
  '',
  '// Groups: the acts that need a scope, and those of one’s own account.',
  `action ${[...scopes, accountGroup].map(literal).join(', ')};`,
  '',
  ...actionNames.map(
    (action) =>
      `action ${literal(action)} in [${literal(groupOf(action))}] appliesTo ` +
      `{ principal: Actor, resource: ${entityType(actionSpec(action).on)}, context: Request };`,
  ),
  '',
].join('\n');
