import type { SignedAuditLog } from '../../src/audit/log.ts';
import { openAuditSearch } from '../../src/control/audit/search.ts';
import type { AuditSearch } from '../../src/control/audit/search-types.ts';
import type { Logger } from '../../src/control/logger.ts';
import { openSqliteAuditIndex } from '../../src/store/sqlite/audit-index.ts';

/** A search over the log in this thread, which begins with the first question: most tests ask none. */
export function lazySearch(parts: {
  folder: string;
  file: string;
  log: SignedAuditLog;
  logger: Logger;
}): AuditSearch {
  const { folder, file, log, logger } = parts;
  let opened: Promise<AuditSearch> | null = null;
  const advance = (search: AuditSearch) => search.advanced('control', log.head().seq);
  const stopListening = log.onAppended(() => void opened?.then(advance));
  const open = async () => {
    const heads = new Map([['control', log.head().seq]]);
    const search = await openAuditSearch({
      folder,
      file,
      heads,
      logger,
      open: (path) => openSqliteAuditIndex({ file: path }),
    });
    advance(search);
    return search;
  };
  const search = () => {
    opened ??= open();
    return opened;
  };
  return {
    find: async (asked) => await (await search()).find(asked),
    counts: async () => await (await search()).counts(),
    rebuild: async () => await (await search()).rebuild(),
    advanced: () => undefined,
    onIndexed: (listener) => {
      const forgetting = search().then((made) => made.onIndexed(listener));
      return () => void forgetting.then((forget) => forget());
    },
    close: async () => {
      stopListening();
      await (await opened)?.close();
    },
  };
}
