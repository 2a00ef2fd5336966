/* QEMU plugin that counts the instructions between the guest's calls of two empty functions.
 *
 *     -plugin file=plugin.so,begin=ADDRESS,end=ADDRESS,out=FILE
 *
 * FILE gets a line with a number for every begin and end, the instructions of the two calls
 * included: a region with nothing in it tells how many those are. QEMU 7.2 ships no header for
 * its plugins, so what is used of the interface, version 1, is declared here.
 * SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint64_t plugin_id;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
enum { NO_REGISTERS = 0, ADD_U64 = 0 };

void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id id,
                                           void (*callback)(plugin_id, struct qemu_plugin_tb *));
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *block);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *block, size_t index);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *instruction);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *instruction,
                                            void (*callback)(unsigned cpu, void *user), int flags,
                                            void *user);
void qemu_plugin_register_vcpu_insn_exec_inline(struct qemu_plugin_insn *instruction, int operation,
                                                void *counter, uint64_t operand);

#define EXPORT __attribute__((visibility("default")))
EXPORT extern int qemu_plugin_version;
EXPORT int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv);

int qemu_plugin_version = 1;

static uint64_t executed, at_begin, begin, end;
static FILE *out;

static void on_begin(unsigned cpu, void *user) {
    (void)cpu, (void)user;
    at_begin = executed;
}

static void on_end(unsigned cpu, void *user) {
    (void)cpu, (void)user;
    fprintf(out, "%" PRIu64 "\n", executed - at_begin);
    fflush(out);
}

static void on_translation(plugin_id id, struct qemu_plugin_tb *block) {
    (void)id;
    for (size_t k = 0; k < qemu_plugin_tb_n_insns(block); k++) {
        struct qemu_plugin_insn *instruction = qemu_plugin_tb_get_insn(block, k);
        const uint64_t address = qemu_plugin_insn_vaddr(instruction);
        if (address == begin || address == end) {
            qemu_plugin_register_vcpu_insn_exec_cb(
                instruction, address == begin ? on_begin : on_end, NO_REGISTERS, NULL);
        }
        qemu_plugin_register_vcpu_insn_exec_inline(instruction, ADD_U64, &executed, 1);
    }
}

int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv) {
    (void)info;
    for (int k = 0; k < argc; k++) {
        if (strncmp(argv[k], "begin=", 6) == 0) {
            begin = strtoull(argv[k] + 6, NULL, 0);
        } else if (strncmp(argv[k], "end=", 4) == 0) {
            end = strtoull(argv[k] + 4, NULL, 0);
        } else if (strncmp(argv[k], "out=", 4) == 0) {
            out = fopen(argv[k] + 4, "w");
        }
    }
    if (begin == 0 || end == 0 || out == NULL) {
        fputs("plugin.so needs begin=, end= and out=\n", stderr);
        return -1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
    return 0;
}
