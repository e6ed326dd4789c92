import type { EgressFlowView } from '../contract/schemas.ts';
import { suggestRules } from '../model/egress-suggest.ts';
import type { RunId } from '../model/ids.ts';
import { showBytes } from './quantities.ts';

/** One flow for people, unescaped: hosts, addresses and paths are the sandbox's own words. */
export function flowText(flow: EgressFlowView): string {
  const { at, verdict, rule, denial, protocol, method, path, count, end } = flow;
  return [
    at,
    verdict.padEnd(7),
    destinationOf(flow),
    ...(protocol === null || protocol === 'dns' ? [] : [protocol]),
    ...(method === null ? [] : [path === null ? method : `${method} ${path}`]),
    rule ?? denial ?? '-',
    ...(count > 1 ? [`${count} times`] : []),
    ...neededBy(flow),
    ...(end === null ? [] : [`${end.outcome}, ${showBytes(end.bytesOut)} out, ${showBytes(end.bytesIn)} in`]),
  ].join('  ');
}

/** The rule that would let a denied flow through, as a policy has it; nothing where none would. */
function neededBy({ at: _at, end: _end, ...flow }: EgressFlowView): string[] {
  if (flow.denial !== 'no-rule' && flow.denial !== 'request') return [];
  const rules = suggestRules([{ ...flow, at: 0, run: '' as RunId }]);
  return rules.map((rule) => `needs ${JSON.stringify(rule)}`);
}

/** Where a flow was to go; unescaped. */
export function destinationOf(flow: Pick<EgressFlowView, 'host' | 'address' | 'port' | 'protocol'>): string {
  return flow.protocol === 'dns' ? `${placeOf(flow)} (lookup)` : `${placeOf(flow)}:${flow.port}`;
}

export function placeOf({ host, address }: Pick<EgressFlowView, 'host' | 'address'>): string {
  return host ?? (address?.includes(':') ? `[${address}]` : (address ?? '?'));
}
