import type { RunView, SessionView, TokenView } from '../contract/schemas.ts';
import { type IdKind, parseId } from '../model/ids.ts';
import type { Api } from './api.ts';
import { CliFailure } from './failure.ts';
import { collect, lookupItemsMax } from './listing.ts';

type Named = { readonly id: string; readonly name: string | null; readonly createdAt: string };

/**
 * The id that a person's word stands for: an id, `latest`, a name (the newest of that name) or the beginning of
 * one id, with or without its prefix. Throws CliFailure when nothing or more than one thing answers to it.
 */
export async function resolveId<T extends Named>(
  kind: Extract<IdKind, 'run' | 'session' | 'token'>,
  word: string,
  list: {
    named(name: string): Promise<readonly T[]>;
    all(): Promise<readonly T[]>;
    newest(): Promise<T | null>;
  },
): Promise<string> {
  if (parseId(kind, word) !== null) return word;
  if (word === 'latest') {
    const newest = await list.newest();
    if (newest === null) throw new CliFailure(`There is no ${kind} yet.`);
    return newest.id;
  }
  const named = newestOf((await list.named(word)).filter(({ name }) => name === word));
  const begun = /^[a-z0-9_]{2,30}$/.test(word)
    ? (await list.all()).filter(({ id }) => id.startsWith(word) || id.slice(4).startsWith(word))
    : [];
  const found = new Map([...(named === null ? [] : [named]), ...begun].map((item) => [item.id, item]));
  if (found.size === 0) {
    throw new CliFailure(`No ${kind} answers to "${word}", or you may not see it.`, {
      hint: `sealwright ${kind}s lists them; an id, the beginning of one, a name and "latest" are taken.`,
    });
  }
  if (found.size > 1) throw ambiguous(kind, word, [...found.values()]);
  return [...found.keys()][0]!;
}

function ambiguous(kind: string, word: string, candidates: readonly Named[]): CliFailure {
  const shown = candidates.slice(0, 8).map(({ id, name }) => (name === null ? id : `${id} (${name})`));
  const more = candidates.length > 8 ? ` and ${candidates.length - 8} more` : '';
  return new CliFailure(`"${word}" stands for more than one ${kind}: ${shown.join(', ')}${more}.`, {
    hint: 'Give more of the id.',
  });
}

function newestOf<T extends Named>(items: readonly T[]): T | null {
  return items.reduce<T | null>(
    (newest, item) => (newest === null || item.createdAt > newest.createdAt ? item : newest),
    null,
  );
}

export async function resolveRun(api: Api, word: string): Promise<string> {
  return await resolveId<RunView>('run', word, {
    named: (name) => collect(api.runs.list, nameQuery(name), 200),
    all: () => collect(api.runs.list, {}, lookupItemsMax),
    newest: async () => newestOf(await collect(api.runs.list, {}, 1)),
  });
}

/** Closed sessions answer to their id alone. */
export async function resolveSession(api: Api, word: string): Promise<string> {
  const open = (items: readonly SessionView[]) =>
    items.filter(({ phase }) => phase === 'pending' || phase === 'active');
  return await resolveId<SessionView>('session', word, {
    named: async (name) => open(await collect(api.sessions.list, nameQuery(name), 200)),
    all: async () => open(await collect(api.sessions.list, {}, lookupItemsMax)),
    newest: async () => newestOf(open(await collect(api.sessions.list, {}, 200))),
  });
}

export async function resolveToken(
  api: { readonly tokens: Pick<Api['tokens'], 'list'> },
  word: string,
): Promise<string> {
  const all = () => collect(api.tokens.list, {}, lookupItemsMax);
  return await resolveId<TokenView>('token', word, {
    named: all,
    all,
    newest: async () => newestOf(await all()),
  });
}

/** The open session of exactly this name, the newest where there are several; null where there is none. */
export async function openSessionNamed(api: Api, name: string): Promise<SessionView | null> {
  const items = await collect(api.sessions.list, nameQuery(name), 200);
  return newestOf(items.filter((item) => item.name === name && ['pending', 'active'].includes(item.phase)));
}

/** A name longer than the server's filter takes cannot be anything's name. */
function nameQuery(name: string): { name: string } {
  return { name: [...name].slice(0, 200).join('') };
}
