import assert from 'node:assert/strict';
import { type Cidr, cidrContains, formatCidr, parseAddress, parseCidr } from '../model/ip-address.ts';
import type { GrantableScope } from '../model/scopes.ts';
import { accessLimits } from './limits.ts';

/** Where a client may be: the network, and the role that it is for; null for everybody. */
export type ClientNetwork = { readonly role: string | null; readonly network: Cidr };

/** What is kept to networks. An empty list keeps nothing; any other lets nobody in whom no entry is for. */
export const networkKinds = ['sign-in', 'administration', 'attach'] as const;
export type NetworkKind = (typeof networkKinds)[number];
export type ClientNetworks = Readonly<Record<NetworkKind, readonly ClientNetwork[]>>;

export const anyNetwork: ClientNetworks = { 'sign-in': [], administration: [], attach: [] };

/** The scopes whose acts the networks of a kind are for; sign-in is asked about before there are scopes. */
export const networkScopes: Readonly<Record<'administration' | 'attach', readonly GrantableScope[]>> = {
  administration: ['identity:write', 'flag:write', 'incident:write'],
  attach: ['control:write'],
};

const entry = /^(?:([a-z][a-z0-9-]{0,62})@)?([0-9a-fA-F.:]+\/\d{1,3})$/;

/** The networks of a comma-separated list of `CIDR` and `ROLE@CIDR`; null where it is none. */
export function parseClientNetworks(text: string): readonly ClientNetwork[] | null {
  const items = text
    .split(',')
    .map((item) => item.trim())
    .filter((item) => item !== '');
  const networks = items.map(parseEntry);
  if (networks.length > accessLimits.networksMax || networks.includes(null)) return null;
  return networks as ClientNetwork[];
}

function parseEntry(text: string): ClientNetwork | null {
  const [, role = null, cidr = ''] = entry.exec(text) ?? [];
  const network = parseCidr(cidr);
  return network === null ? null : { role, network };
}

/** The networks of lists that were read before, by their entries. */
export function clientNetworksOf(lists: Readonly<Record<NetworkKind, readonly string[]>>): ClientNetworks {
  const read = (kind: NetworkKind) => {
    const networks = parseClientNetworks(lists[kind].join(','));
    assert(networks !== null, `the client networks for ${kind} were read before`);
    return networks;
  };
  return { 'sign-in': read('sign-in'), administration: read('administration'), attach: read('attach') };
}

/** As settings write it. */
export function formatClientNetwork({ role, network }: ClientNetwork): string {
  return role === null ? formatCidr(network) : `${role}@${formatCidr(network)}`;
}

/**
 * Whether somebody of this role may do this from there. The machine's own socket, whose address is null, always may;
 * an address that is none never may where there are networks.
 */
export function mayActFrom(
  networks: ClientNetworks,
  kind: NetworkKind,
  role: string | null,
  address: string | null,
): boolean {
  const list = networks[kind];
  if (address === null || list.length === 0) return true;
  const parsed = parseAddress(address);
  if (parsed === null) return false;
  return list.some((one) => (one.role === null || one.role === role) && cidrContains(one.network, parsed));
}
