import type { AliasableExpression, Kysely } from 'kysely';
import type { Within } from '../store.ts';
import type { Tables } from './tables.ts';

/**
 * Ids of what is somebody's own or its teams'. `first` finds the first of a page by one owner or team: each has an
 * index in the order of the page, so the work follows the page and not what there is.
 */
export function idsWithin(
  db: Kysely<Tables>,
  { owner, teams }: Within,
  first: (column: 'owner' | 'team', value: string) => AliasableExpression<{ id: string }>,
) {
  const idsOf = (column: 'owner' | 'team', value: string) =>
    db.selectFrom(first(column, value).as('found')).select('found.id');
  return teams.reduce((ids, team) => ids.unionAll(idsOf('team', team)), idsOf('owner', owner));
}
