/* EFI_SMART_CARD_READER_PROTOCOL, written from the UEFI specification 2.10 (section "Smart Card Reader
 * Protocol"), with the types of gnu-efi. */

#ifndef SMART_CARD_READER_H
#define SMART_CARD_READER_H

#include <efi.h>

#define SMART_CARD_READER_GUID                                                                                 \
	{ 0x2a4d1adf, 0x21dc, 0x4b81, { 0xa4, 0x2f, 0x8b, 0x8e, 0xe2, 0x38, 0x00, 0x60 } }

enum access_mode { AM_READER = 1, AM_CARD = 2 };
enum card_action { CA_NORESET, CA_COLDRESET, CA_WARMRESET, CA_UNPOWER, CA_EJECT };
enum card_protocol { PROTOCOL_UNDEFINED = 0, PROTOCOL_T0 = 1, PROTOCOL_T1 = 2, PROTOCOL_RAW = 4 };
enum card_state { CARD_UNKNOWN, CARD_ABSENT, CARD_INACTIVE, CARD_ACTIVE };

#define CONTROL_CODE(number) (0x42000000u + (number))
#define GET_FEATURE_REQUEST CONTROL_CODE(3400)
#define ATTRIBUTE_ATR_STRING 0x00090303u

struct smart_card_reader {
	EFI_STATUS(EFIAPI *connect)
	(struct smart_card_reader *this, UINT32 access_mode, UINT32 card_action, UINT32 preferred_protocols,
	 UINT32 *active_protocol);
	EFI_STATUS(EFIAPI *disconnect)(struct smart_card_reader *this, UINT32 card_action);
	EFI_STATUS(EFIAPI *status)
	(struct smart_card_reader *this, CHAR16 *reader_name, UINTN *reader_name_length, UINT32 *state,
	 UINT32 *card_protocol, UINT8 *atr, UINTN *atr_length);
	EFI_STATUS(EFIAPI *transmit)
	(struct smart_card_reader *this, UINT8 *capdu, UINTN capdu_length, UINT8 *rapdu, UINTN *rapdu_length);
	EFI_STATUS(EFIAPI *control)
	(struct smart_card_reader *this, UINT32 control_code, UINT8 *in, UINTN in_length, UINT8 *out,
	 UINTN *out_length);
	EFI_STATUS(EFIAPI *get_attribute)
	(struct smart_card_reader *this, UINT32 attribute, UINT8 *out, UINTN *out_length);
};

#endif
