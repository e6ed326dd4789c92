import { OAuthFault } from '../../contract/oauth.ts';
import { type GrantableScope, scopes } from '../../model/scopes.ts';
import { oauthLimits } from './limits.ts';

/** Parameters of a request, each once, without empty ones (RFC 6749 §3.2). Names that nobody knows are not looked at. */
export type Form = ReadonlyMap<string, string>;

const printable = /^[\x20-\x7e]+$/;

/** A parameter of printable ASCII, or null where it is absent. Throws OAuthFault `invalid_request`. */
export function optional(form: Form, name: string): string | null {
  const value = form.get(name);
  if (value === undefined) return null;
  if (value.length <= oauthLimits.parameterCharactersMax && printable.test(value)) return value;
  throw new OAuthFault('invalid_request', `The parameter ${name} is too long or not printable ASCII.`);
}

/** The same where it must be there. */
export function required(form: Form, name: string): string {
  const value = optional(form, name);
  if (value === null) throw new OAuthFault('invalid_request', `The parameter ${name} is missing.`);
  return value;
}

/** The scopes that `scope` asks for, or null where it does not say. Throws OAuthFault `invalid_scope`. */
export function askedScopes(form: Form): readonly GrantableScope[] | null {
  const text = optional(form, 'scope');
  if (text === null) return null;
  const words = [...new Set(text.split(' ').filter((word) => word !== ''))];
  const known: readonly string[] = scopes;
  const strange = words.find((word) => !known.includes(word));
  if (strange !== undefined || words.length === 0)
    throw new OAuthFault('invalid_scope', `There is no such scope. The scopes are: ${scopes.join(' ')}`);
  return words as GrantableScope[];
}
