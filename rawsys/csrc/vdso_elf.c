/* Our own reader of the vDSO's ELF image: its dynamic symbol table, with versions.
 *
 * libc has one, too, and does not give it away.  The image is the kernel's; but what an auxiliary vector says can be
 * changed by whoever started us, so every address is checked against the loaded segment before it is read.
 */
#include <elf.h>
#include <stdint.h>
#include <string.h>

#include "vdso.h"

struct image {
    const char *base;
    size_t size; /* as far as the loaded segment goes */
    uintptr_t bias;
    const Elf64_Sym *symbol;
    const char *string;
    const uint16_t *version;
    const char *definition;
    const uint32_t *hash, *gnu_hash;
    size_t strings;
};

static const void *within(const struct image *image, uintptr_t address, size_t size)
{
    uintptr_t offset = address - (uintptr_t)image->base;
    return offset <= image->size && size <= image->size - offset ? (const void *)address : NULL;
}

static int same_text(const struct image *image, size_t at, const char *text)
{
    size_t length = strlen(text) + 1;
    return at < image->strings && length <= image->strings - at && !memcmp(image->string + at, text, length);
}

/* Finds the loaded segment, which has to begin with the header, and gives the dynamic section. */
static const Elf64_Dyn *read_segments(struct image *image, size_t limit)
{
    const Elf64_Ehdr *header = (const Elf64_Ehdr *)image->base;
    const Elf64_Dyn *dynamic = NULL;
    if (memcmp(header->e_ident, ELFMAG, SELFMAG) || header->e_ident[EI_CLASS] != ELFCLASS64 || header->e_machine != EM_X86_64 ||
        header->e_phentsize != sizeof(Elf64_Phdr) || header->e_phoff > 4096 - header->e_phnum * sizeof(Elf64_Phdr) || header->e_phnum > 16)
        return NULL;
    const Elf64_Phdr *segment = (const Elf64_Phdr *)(image->base + header->e_phoff);
    for (unsigned i = 0; i < header->e_phnum; i++) {
        if (segment[i].p_type == PT_LOAD && !image->size && segment[i].p_offset == 0) {
            image->bias = (uintptr_t)image->base - segment[i].p_vaddr;
            image->size = segment[i].p_memsz < limit ? segment[i].p_memsz : limit;
        } else if (segment[i].p_type == PT_DYNAMIC) {
            dynamic = (const Elf64_Dyn *)(image->base + segment[i].p_offset);
        }
    }
    return dynamic;
}

/* The kernel does not relocate the image: what the section points to is relative to where it lies. */
static int read_dynamic(struct image *image, const Elf64_Dyn *entry)
{
    for (; within(image, (uintptr_t)entry, sizeof *entry) && entry->d_tag != DT_NULL; entry++) {
        const void *place = within(image, image->bias + entry->d_un.d_ptr, 1);
        switch (entry->d_tag) {
        case DT_STRTAB: image->string = place; break;
        case DT_STRSZ: image->strings = entry->d_un.d_val; break;
        case DT_SYMTAB: image->symbol = place; break;
        case DT_VERSYM: image->version = place; break;
        case DT_VERDEF: image->definition = place; break;
        case DT_HASH: image->hash = place; break;
        case DT_GNU_HASH: image->gnu_hash = place; break;
        }
    }
    return image->string && image->symbol && within(image, (uintptr_t)image->string, image->strings);
}

/* The table does not say how long it is.  The old hash table has one link for each symbol; the new one has chains,
 * of which the last one that begins latest ends with the last symbol. */
static size_t symbols(const struct image *image)
{
    if (image->hash && within(image, (uintptr_t)image->hash, 8))
        return image->hash[1];
    const uint32_t *table = image->gnu_hash;
    if (!table || !within(image, (uintptr_t)table, 16))
        return 0;
    size_t buckets = table[0], first = table[1], last = 0;
    const uint32_t *bucket = table + 4 + 2 * (size_t)table[2];
    if (!within(image, (uintptr_t)bucket, buckets * 4))
        return 0;
    for (size_t i = 0; i < buckets; i++)
        last = bucket[i] > last ? bucket[i] : last;
    if (last < first)
        return first;
    const uint32_t *chain = bucket + buckets;
    while (within(image, (uintptr_t)(chain + (last - first)), 4) && !(chain[last - first] & 1))
        last++;
    return last + 1;
}

/* An image without versions has one of each function, and that is the one that is meant. */
static int has_version(const struct image *image, size_t index, const char *version)
{
    const char *at = image->definition;
    if (!image->version || !at || !within(image, (uintptr_t)(image->version + index), 2))
        return 1;
    unsigned wanted = image->version[index] & 0x7fff;
    while (within(image, (uintptr_t)at, sizeof(Elf64_Verdef))) {
        const Elf64_Verdef *definition = (const Elf64_Verdef *)at;
        const Elf64_Verdaux *name = (const Elf64_Verdaux *)(at + definition->vd_aux);
        if ((definition->vd_ndx & 0x7fff) == wanted && !(definition->vd_flags & VER_FLG_BASE))
            return within(image, (uintptr_t)name, sizeof *name) && same_text(image, name->vda_name, version);
        if (!definition->vd_next)
            return 0;
        at += definition->vd_next;
    }
    return 0;
}

const void *rs_vdso_find(const char *base, size_t limit, const char *name, const char *version)
{
    struct image image = {.base = base};
    const Elf64_Dyn *dynamic = base ? read_segments(&image, limit) : NULL;
    if (!dynamic || !image.size || !read_dynamic(&image, dynamic))
        return NULL;
    size_t count = symbols(&image);
    for (size_t i = 0; i < count; i++) {
        const Elf64_Sym *symbol = image.symbol + i;
        if (!within(&image, (uintptr_t)symbol, sizeof *symbol))
            return NULL;
        if (ELF64_ST_TYPE(symbol->st_info) == STT_FUNC && symbol->st_shndx != SHN_UNDEF && same_text(&image, symbol->st_name, name) &&
            has_version(&image, i, version))
            return within(&image, image.bias + symbol->st_value, symbol->st_size ? symbol->st_size : 1);
    }
    return NULL;
}
