/* The flash of an STM32L4 of 1 MB, whose second bank keeps the models while code runs from the
 * first. It programs double words, each once. SPDX-License-Identifier: Apache-2.0 */
#ifndef ESNN_FLASH_CONTROLLER_H
#define ESNN_FLASH_CONTROLLER_H

#define FLASH 0x40022000u

enum { ACCESS = 0x00, KEY = 0x08, STATE = 0x10, CONTROL = 0x14 };

#define FAILED 0xc3fau /* and these bits are cleared by being written */
#define PROGRAMS 1u
#define PROGRAMMED_AT_ONCE 8u
#define ERASES(page) (2u | (page) << 3 | 1u << 11) /* of the second bank */

#endif
