/** BPF_MAXINSNS: the kernel refuses a longer program. */
export const instructionsMax = 4096;

/** A conditional jump's offset is one byte. */
export const conditionalJumpInstructionsMax = 255;
