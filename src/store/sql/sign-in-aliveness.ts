import { sql } from 'kysely';

/**
 * SQL for a sign-in that works: it is not revoked, not expired, was used within its idle time, and the same holds for
 * each sign-in that it was exchanged from, however far up. What else it was exchanged from is the caller's to check.
 */
export function works(now: number) {
  return sql<boolean>`${worksAlone('sign_ins', now)} and not exists (
    with recursive above(id) as (
      select sign_ins.parent where substr(sign_ins.parent, 1, 4) = 'sgn_'
      union
      select up.parent from above inner join sign_ins as up on up.id = above.id
      where substr(up.parent, 1, 4) = 'sgn_'
    )
    select 1 from above left join sign_ins as up on up.id = above.id
    where up.id is null or not (${worksAlone('up', now)})
  )`;
}

function worksAlone(table: 'sign_ins' | 'up', now: number) {
  const column = (name: string) => sql.ref(`${table}.${name}`);
  return sql<boolean>`${column('revoked_at')} is null and ${column('expires_at')} > ${now}
    and ${column('last_used_at')} + ${column('idle_ms')} > ${now}`;
}
