import { type Kysely, sql } from 'kysely';
import type { Tables } from './tables.ts';

/** What teams share. Sessions and runs from before are their owners' alone, policies everybody's as they were. */
export async function teamOwnership(db: Kysely<Tables>): Promise<void> {
  for (const table of ['sessions', 'runs'] as const) {
    await db.schema.alterTable(table).addColumn('team', 'text').execute();
    await db.schema
      .createIndex(`${table}_by_team`)
      .on(table)
      .columns(['team', 'created_at', 'id'])
      .where(sql<boolean>`team is not null`)
      .execute();
  }
  await db.schema
    .createIndex('runs_with_files_by_team')
    .on('runs')
    .columns(['team', 'finished_at', 'id'])
    .where(sql<boolean>`files_expired = 0 and finished_at is not null and team is not null`)
    .execute();
  await db.schema.alterTable('policies').addColumn('team', 'text').execute();
  await db.schema
    .alterTable('policies')
    .addColumn('owner', 'text', (column) => column.notNull().defaultTo(''))
    .execute();
  await sql`update policies set owner = (
    select made.author from policies as made where made.name = policies.name and made.generation = 1
  )`.execute(db);
}
