import type { EgressFlowView } from '../contract/schemas.ts';
import type { RunId } from '../model/ids.ts';
import type { FlowRecord, FlowStore, Listed, Store } from '../store/store.ts';
import type { FlowReader } from './control.ts';
import type { LiveRuns } from './live-runs.ts';
import { flowView } from './views.ts';

type Parts = { readonly store: Store; readonly live: LiveRuns };
type Filter = Parameters<FlowStore['list']>[1];

/** A run's flows past `after`, until it has ended and all of them were read. What nobody has read is in the store. */
export function openFlows(parts: Parts, run: RunId, after: number | null, filter: Filter): FlowReader {
  const cancelled = new AbortController();
  return {
    cancel: () => cancelled.abort(),
    [Symbol.asyncIterator]: () => read(parts, run, after, filter, cancelled.signal),
  };
}

async function* read(
  { store, live }: Parts,
  run: RunId,
  after: number | null,
  filter: Filter,
  cancelled: AbortSignal,
): AsyncGenerator<EgressFlowView, void, undefined> {
  let last = after;
  while (!cancelled.aborted) {
    // Looked at before the flows are: what a run that has ended reached for is then all there.
    const running = live.get(run);
    const told = running?.flowsTold;
    let page: Listed<FlowRecord>;
    do {
      page = await store.flows.list(run, filter, { after: last, limit: 200 });
      for (const flow of page.records) {
        last = flow.id;
        yield flowView(flow);
        if (cancelled.aborted) return;
      }
    } while (page.more);
    if (running === null) return;
    const goesOn = () => running.ended || running.flowsTold !== told;
    await live.until(running, goesOn, cancelled).catch(() => undefined);
  }
}
