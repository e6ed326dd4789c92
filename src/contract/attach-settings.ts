import { z } from 'zod';
import { attachModes } from '../model/terminal.ts';

/** Shapes that sessions and attaching share; of everything else about attaching see `attach-schemas.ts`. */

export const attachSettings = z
  .object({
    enabled: z.boolean(),
    mode: z.enum(attachModes),
    moderated: z.boolean(),
    recordInput: z.boolean(),
  })
  .meta({ description: 'Whether and how people attach to the terminals of its runs' });

/** What is asked for; absent members are off, and the mode is exclusive. */
export const attachChoice = z.strictObject({
  enabled: z.boolean(),
  mode: z.enum(attachModes).optional().meta({ description: 'exclusive where absent: one driver at a time' }),
  moderated: z
    .boolean()
    .optional()
    .meta({ description: 'Whether drivers may type only while somebody else with control:write watches' }),
  recordInput: z
    .boolean()
    .optional()
    .meta({ description: 'Whether what is typed is recorded too, without secrets' }),
});

export type AttachSettingsView = z.infer<typeof attachSettings>;
export type AttachChoice = z.infer<typeof attachChoice>;
