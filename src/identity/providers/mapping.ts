import { type ClaimMapping, isTeamName } from '../../contract/providers.ts';
import { isActorName } from '../../model/actor.ts';
import { providerLimits } from './limits.ts';

/** What a provider says of a person, verified to come from it. */
export type Claims = Readonly<Record<string, unknown>>;

/** What an account here is made from. */
export type Mapped = {
  readonly userName: string | null;
  readonly displayName: string | null;
  readonly email: string | null;
  readonly role: string | null;
  readonly teams: readonly string[] | null;
};

/** By the rules of `providers.yaml`. `names` are the claims to take the user's name from where it says none. */
export function mapClaims(mapping: ClaimMapping, claims: Claims, names: readonly string[]): Mapped {
  const [email = null] = claimValues(claims, 'email');
  const [displayName = null] = claimValues(claims, 'name');
  return {
    userName: userNameOf(claims, mapping.userName === undefined ? names : [mapping.userName]),
    displayName: displayName === null ? null : shownName(displayName),
    email: email !== null && /^[^\s@\p{Cc}]{1,64}@[^\s@\p{Cc}]{1,190}$/u.test(email) ? email : null,
    role: roleOf(mapping, claims),
    teams: teamsOf(mapping, claims),
  };
}

/**
 * The texts of a claim: of its value, or of the members of its list. A path such as `realm_access.roles` goes into
 * objects, unless a claim is called so as a whole.
 */
export function claimValues(claims: Claims, path: string): readonly string[] {
  const value = Object.hasOwn(claims, path) ? claims[path] : path.split('.').reduce<unknown>(member, claims);
  const values = Array.isArray(value) ? value.slice(0, providerLimits.claimValuesMax) : [value];
  return values.flatMap((one: unknown) => {
    if (typeof one === 'boolean' || (typeof one === 'number' && Number.isSafeInteger(one)))
      return [String(one)];
    const fits =
      typeof one === 'string' && one.length <= providerLimits.claimCharactersMax && one.isWellFormed();
    return fits ? [one] : [];
  });
}

function member(value: unknown, name: string): unknown {
  const isObject = typeof value === 'object' && value !== null && !Array.isArray(value);
  return isObject && Object.hasOwn(value, name) ? (value as Claims)[name] : undefined;
}

/** The first claim that gives a name; of an e-mail address that is no user name itself, what stands before the `@`. */
function userNameOf(claims: Claims, names: readonly string[]): string | null {
  for (const name of names) {
    const [value] = claimValues(claims, name);
    if (value === undefined || value === '') continue;
    return actorNameOf(name === 'email' ? value.split('@')[0]! : value);
  }
  return null;
}

/** The nearest name in the form that actors have, or null: accents go, and what cannot stand there becomes `-`. */
export function actorNameOf(text: string): string | null {
  const plain = text.normalize('NFKD').replace(/\p{M}/gu, '').toLowerCase();
  const name = plain
    .replace(/[^a-z0-9._@-]+/g, '-')
    .replace(/^[^a-z0-9]+|-+$/g, '')
    .slice(0, 63);
  return isActorName(name) ? name : null;
}

function shownName(text: string): string | null {
  const shown = [...text.replace(/[\p{Cc}\p{Cf}\s]+/gu, ' ').trim()].slice(0, 63).join('').trim();
  return shown === '' ? null : shown;
}

/** The first rule that fits decides. */
function roleOf({ roles, defaultRole }: ClaimMapping, claims: Claims): string | null {
  const rule = roles.find(({ claim, value }) => claimValues(claims, claim).includes(value));
  return rule?.role ?? defaultRole ?? null;
}

/** Without a map only groups that are called like a team count: folding names would let one group pass for another. */
function teamsOf({ teams }: ClaimMapping, claims: Claims): readonly string[] | null {
  if (teams === undefined) return null;
  const { claim, map, prefix = '' } = teams;
  const given = claimValues(claims, claim).flatMap((value) => {
    if (map !== undefined) return Object.hasOwn(map, value) ? [map[value]!] : [];
    return isTeamName(value) && isTeamName(`${prefix}${value}`) ? [`${prefix}${value}`] : [];
  });
  return [...new Set(given)].slice(0, providerLimits.teamsMax);
}

/** Which teams the provider decides about for somebody who is in `current`: it gives and takes these alone. */
export function managedTeams({ teams }: ClaimMapping, current: readonly string[]): readonly string[] {
  if (teams === undefined) return [];
  if (teams.map !== undefined) return [...new Set(Object.values(teams.map))];
  return current.filter((team) => team.startsWith(teams.prefix ?? ''));
}
